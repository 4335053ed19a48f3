"""What the routes that ask again who one is have in common."""

from __future__ import annotations

from typing import Any

from tricord.clients.api.interactive_auth import AuthData
from tricord.homeserver.accounts.interactive_auth import InteractiveAuth, Request
from tricord.homeserver.accounts.stages import SAME_USER
from tricord.homeserver.serving.call import Call


async def require_same_user(auth: InteractiveAuth, call: Call[Any, Any]) -> None:
    """Return once the requester has shown again who they are, for this very request."""
    given: AuthData | None = call.body.auth
    bound = {
        "endpoint": call.endpoint.__name__,
        "path": call.path,
        "body": call.body.model_dump(mode="json", exclude={"auth"}),
    }
    await auth.require(Request(bound, given, call.requester.user_id, call.client_address), SAME_USER)
