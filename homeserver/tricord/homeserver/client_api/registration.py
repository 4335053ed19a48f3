"""Routes of making an account."""

from __future__ import annotations

from typing import Any

from tricord.clients.api.registration import CheckRegistrationToken, CheckUsername, Register
from tricord.homeserver.accounts.guests import Guests
from tricord.homeserver.accounts.interactive_auth import InteractiveAuth, Request
from tricord.homeserver.accounts.rate_limits import RegistrationLimits
from tricord.homeserver.accounts.registration import Registration
from tricord.homeserver.accounts.sessions import Sessions
from tricord.homeserver.accounts.settings import RegistrationSettings
from tricord.homeserver.accounts.stages import registration_flows
from tricord.homeserver.client_api.login import session_response
from tricord.homeserver.serving.call import Call, Route
from tricord.protocol.errors import Forbidden, MissingParam
from tricord.protocol.identifiers import UserId, server_name_of


class RegistrationApi:
    """Making an account."""

    def __init__(
        self,
        settings: RegistrationSettings,
        registration: Registration,
        auth: InteractiveAuth,
        sessions: Sessions,
        limits: RegistrationLimits,
        guests: Guests,
    ) -> None:
        self._settings = settings
        self._registration = registration
        self._auth = auth
        self._sessions = sessions
        self._limits = limits
        self._guests = guests

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route(Register, self.register),
            Route(CheckUsername, self.check_username),
            Route(CheckRegistrationToken, self.check_token),
        ]

    async def register(self, call: Call[Register.Body, Register.Query]) -> Register.Response:
        """Make an account, and sign its owner in."""
        if call.query.kind == "guest":
            return await self._register_guest(call)
        self._check_enabled()
        body = call.body
        # Whether one could have the name and the password is told before anything is asked for it.
        if body.guest_access_token is None:
            user_id = await self._registration.check_available(body.username)
        else:
            user_id = await self._guests.who_becomes_a_user(
                body.guest_access_token, body.username, client_address=call.client_address, user_agent=call.user_agent
            )
        if body.password is not None:
            self._registration.check_password(body.password)
        # One registers as somebody new: there is nobody yet whom another request could harm. Some clients send the
        # name only with later stages.
        request = Request({"endpoint": "Register"}, body.auth, None, call.client_address)
        authenticated = await self._auth.require(request, registration_flows(self._settings))
        if body.password is None:
            raise MissingParam("`password` is missing")
        self._limits.register(call.client_address)
        token = authenticated.registration_token
        if body.guest_access_token is None:
            await self._registration.create(user_id, body.password, registration_token=token)
        else:
            await self._guests.become_user(user_id, body.password, registration_token=token)
        return await self._signed_in(user_id, body)

    async def _register_guest(self, call: Call[Register.Body, Register.Query]) -> Register.Response:
        """Let somebody in as a guest; of the body only the name of the device counts."""
        if not self._settings.guests:
            raise Forbidden("this server has no guest accounts")
        self._limits.register(call.client_address)
        user_id = await self._registration.create_guest()
        return await self._signed_in(
            user_id, Register.Body(initial_device_display_name=call.body.initial_device_display_name)
        )

    async def check_username(self, call: Call[Any, CheckUsername.Query]) -> CheckUsername.Response:
        """Answer whether a name is free."""
        self._limits.probe(call.client_address)
        self._check_enabled()
        await self._registration.check_available(call.query.username)
        return CheckUsername.Response(available=True)

    async def check_token(self, call: Call[Any, CheckRegistrationToken.Query]) -> CheckRegistrationToken.Response:
        """Answer whether a registration token is valid."""
        self._limits.probe(call.client_address)
        self._check_enabled()
        return CheckRegistrationToken.Response(valid=await self._registration.token_is_valid(call.query.token))

    def _check_enabled(self) -> None:
        if not self._settings.enabled:
            raise Forbidden("registration is disabled")

    async def _signed_in(self, user_id: UserId, body: Register.Body) -> Register.Response:
        if body.inhibit_login:
            return Register.Response(user_id=user_id, home_server=server_name_of(user_id))
        session = await self._sessions.start(
            user_id,
            device_id=body.device_id,
            device_name=body.initial_device_display_name,
            refreshable=body.refresh_token,
        )
        return Register.Response(**session_response(session))
