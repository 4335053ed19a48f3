"""Routes of signing in and out."""

from __future__ import annotations

from typing import Any

from tricord.clients.api.interactive_auth import UserIdentifier
from tricord.clients.api.login import GetLoginFlows, GetLoginToken, Login, LoginFlow, Logout, LogoutAll, Refresh
from tricord.homeserver.accounts.interactive_auth import InteractiveAuth
from tricord.homeserver.accounts.login import LOGIN_TOKEN_LIFETIME_MS, LoginTokens, PasswordLogin
from tricord.homeserver.accounts.rate_limits import LoginLimits
from tricord.homeserver.accounts.sessions import NewSession, Sessions
from tricord.homeserver.accounts.settings import LoginSettings
from tricord.homeserver.client_api.interactive import require_same_user
from tricord.homeserver.serving.call import Call, Route
from tricord.protocol.errors import MissingParam, Unknown, Unrecognized
from tricord.protocol.identifiers import UserId, server_name_of
from tricord.protocol.strict_json import JsonObject


class LoginApi:
    """Signing in and out."""

    def __init__(
        self,
        settings: LoginSettings,
        password_login: PasswordLogin,
        login_tokens: LoginTokens,
        limits: LoginLimits,
        sessions: Sessions,
        auth: InteractiveAuth,
        well_known: JsonObject | None,
    ) -> None:
        self._settings = settings
        self._password_login = password_login
        self._login_tokens = login_tokens
        self._limits = limits
        self._sessions = sessions
        self._auth = auth
        self._well_known = well_known

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route(GetLoginFlows, self.flows),
            Route(Login, self.login),
            Route(GetLoginToken, self.login_token),
            Route(Refresh, self.refresh),
            Route(Logout, self.logout),
            Route(LogoutAll, self.logout_all),
        ]

    async def flows(self, call: Call[Any, Any]) -> GetLoginFlows.Response:  # noqa: ARG002
        """Answer how one can sign in."""
        flows = [LoginFlow(type="m.login.password")]
        if self._settings.login_tokens:
            flows.append(LoginFlow(type="m.login.token", get_login_token=True))
        return GetLoginFlows.Response(flows=flows)

    async def login(self, call: Call[Login.Body, Any]) -> Login.Response:
        """Sign somebody in."""
        body = call.body
        session = await self._sessions.start(
            await self._who(body, call.client_address),
            device_id=body.device_id,
            device_name=body.initial_device_display_name,
            refreshable=body.refresh_token,
        )
        return Login.Response(**session_response(session), well_known=self._well_known)

    async def login_token(self, call: Call[GetLoginToken.Body, Any]) -> GetLoginToken.Response:
        """Make a token for another client of the requester."""
        if not self._settings.login_tokens:
            raise Unrecognized("this server gives no login tokens")
        await require_same_user(self._auth, call)
        token = await self._login_tokens.make(call.requester.user_id)
        return GetLoginToken.Response(login_token=token, expires_in_ms=LOGIN_TOKEN_LIFETIME_MS)

    async def refresh(self, call: Call[Refresh.Body, Any]) -> Refresh.Response:
        """Give new tokens for a refresh token."""
        tokens = await self._sessions.refresh(call.body.refresh_token)
        return Refresh.Response(
            access_token=tokens.access_token, refresh_token=tokens.refresh_token, expires_in_ms=tokens.expires_in_ms
        )

    async def logout(self, call: Call[Any, Any]) -> JsonObject:
        """Sign the requester's device out."""
        requester = call.requester
        if requester.device_id is not None:
            await self._sessions.end(requester.user_id, [requester.device_id])
        return {}

    async def logout_all(self, call: Call[Any, Any]) -> JsonObject:
        """Sign all of the requester's devices out."""
        await self._sessions.end_all(call.requester.user_id)
        return {}

    async def _who(self, body: Login.Body, address: str) -> UserId:
        if body.type == "m.login.password":
            if body.password is None:
                raise MissingParam("`password` is missing")
            return await self._password_login.check(_identifier(body), body.password, address=address)
        if body.type == "m.login.token" and self._settings.login_tokens:
            if body.token is None:
                raise MissingParam("`token` is missing")
            self._limits.attempt(address)
            return await self._login_tokens.take(body.token)
        raise Unknown("this is not one of the login types that this server offers")


def session_response(session: NewSession) -> dict[str, Any]:
    """Return what a client is told of its new session, at the login or after registering."""
    return {
        "user_id": session.user_id,
        "home_server": server_name_of(session.user_id),
        "device_id": session.device_id,
        "access_token": session.tokens.access_token,
        "refresh_token": session.tokens.refresh_token,
        "expires_in_ms": session.tokens.expires_in_ms,
    }


def _identifier(body: Login.Body) -> UserIdentifier:
    if body.identifier is not None:
        return body.identifier
    if body.user is not None:
        return UserIdentifier(type="m.id.user", user=body.user)
    if body.address is not None:
        return UserIdentifier(type="m.id.thirdparty", medium=body.medium, address=body.address)
    raise MissingParam("`identifier` is missing")
