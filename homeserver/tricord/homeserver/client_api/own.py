"""Paths with a user id in them that can only be one's own."""

from __future__ import annotations

from typing import Any

from tricord.homeserver.serving.call import Call
from tricord.protocol.errors import Forbidden
from tricord.protocol.identifiers import UserId


def own_user_id(call: Call[Any, Any]) -> UserId:
    """Return the user id in the path; raise Forbidden if it is somebody else's."""
    user_id = call.requester.user_id
    if call.path["user_id"] != user_id:
        raise Forbidden("this is another user's")
    return user_id
