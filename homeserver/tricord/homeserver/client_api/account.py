"""Routes of one's own account."""

from __future__ import annotations

from typing import Any

from tricord.clients.api.account import ChangePassword, Deactivate, GetThirdPartyIds, WhoAmI
from tricord.homeserver.accounts.deactivation import Deactivation
from tricord.homeserver.accounts.interactive_auth import InteractiveAuth
from tricord.homeserver.accounts.password_change import PasswordChange
from tricord.homeserver.client_api.interactive import require_same_user
from tricord.homeserver.serving.call import Call, Route
from tricord.protocol.errors import MissingParam
from tricord.protocol.strict_json import JsonObject


class AccountApi:
    """One's own account."""

    def __init__(self, auth: InteractiveAuth, password_change: PasswordChange, deactivation: Deactivation) -> None:
        self._auth = auth
        self._password_change = password_change
        self._deactivation = deactivation

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route(WhoAmI, self.whoami),
            Route(ChangePassword, self.change_password),
            Route(Deactivate, self.deactivate),
            Route(GetThirdPartyIds, self.third_party_ids),
        ]

    async def whoami(self, call: Call[Any, Any]) -> JsonObject:
        """Answer who the requester is."""
        requester = call.requester
        answer: JsonObject = {"user_id": requester.user_id, "is_guest": requester.is_guest}
        if requester.device_id is not None:
            answer["device_id"] = requester.device_id
        return answer

    async def change_password(self, call: Call[ChangePassword.Body, Any]) -> JsonObject:
        """Change the requester's password."""
        body, requester = call.body, call.requester
        if body.new_password is not None:
            self._password_change.check(body.new_password)
        await require_same_user(self._auth, call)
        if body.new_password is None:
            raise MissingParam("`new_password` is missing")
        await self._password_change.change(
            requester.user_id, body.new_password, sign_out=body.logout_devices, but=requester.device_id
        )
        return {}

    async def deactivate(self, call: Call[Deactivate.Body, Any]) -> Deactivate.Response:
        """End the requester's account."""
        await require_same_user(self._auth, call)
        await self._deactivation.deactivate(call.requester.user_id, erase=call.body.erase)
        return Deactivate.Response(id_server_unbind_result="success")

    async def third_party_ids(self, call: Call[Any, Any]) -> GetThirdPartyIds.Response:  # noqa: ARG002
        """Answer which addresses the requester has: none, this server keeps none."""
        return GetThirdPartyIds.Response(threepids=[])
