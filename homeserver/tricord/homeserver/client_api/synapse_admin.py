"""Routes for scripts made for Synapse."""

from __future__ import annotations

from typing import Any

from tricord.clients.api.registration import Register
from tricord.clients.api.synapse_admin import GetRegistrationNonce, RegisterWithSharedSecret
from tricord.homeserver.accounts.profile_fields import check_value
from tricord.homeserver.accounts.profiles import Profiles
from tricord.homeserver.accounts.registration import Registration, SharedSecret
from tricord.homeserver.accounts.sessions import Sessions
from tricord.homeserver.client_api.login import session_response
from tricord.homeserver.serving.call import Call, Route
from tricord.protocol.identifiers import server_name_of


class SynapseAdminApi:
    """Registration with the shared secret, for which nothing else has to be allowed or shown."""

    def __init__(
        self, shared_secret: SharedSecret, registration: Registration, sessions: Sessions, profiles: Profiles
    ) -> None:
        self._shared_secret = shared_secret
        self._registration = registration
        self._sessions = sessions
        self._profiles = profiles

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [Route(GetRegistrationNonce, self.nonce), Route(RegisterWithSharedSecret, self.register)]

    async def nonce(self, call: Call[Any, Any]) -> GetRegistrationNonce.Response:  # noqa: ARG002
        """Answer a nonce."""
        return GetRegistrationNonce.Response(nonce=self._shared_secret.nonce())

    async def register(self, call: Call[RegisterWithSharedSecret.Body, Any]) -> Register.Response:
        """Make an account."""
        body = call.body
        self._registration.check_password(body.password)
        self._shared_secret.check(
            body.nonce,
            body.mac,
            username=body.username,
            password=body.password,
            admin=body.admin,
            user_type=body.user_type,
        )
        if body.displayname is not None:
            check_value("displayname", body.displayname)
        user_id = await self._registration.check_available(body.username)
        await self._registration.create(user_id, body.password, is_admin=body.admin, user_type=body.user_type)
        if body.displayname is not None:
            await self._profiles.set(user_id, "displayname", body.displayname)
        if body.inhibit_login:
            return Register.Response(user_id=user_id, home_server=server_name_of(user_id))
        return Register.Response(**session_response(await self._sessions.start(user_id)))
