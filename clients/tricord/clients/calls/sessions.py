"""Signing in, staying signed in, signing out; the devices of the account."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tricord.clients.api import account, registration
from tricord.clients.api import devices as device_api
from tricord.clients.api import login as login_api
from tricord.clients.calls.base import Calls, Stages, given
from tricord.clients.errors import Refused
from tricord.clients.http import Tokens, as_described
from tricord.clients.session import Session
from tricord.protocol.identifiers import DeviceId, UserId


class SessionCalls(Calls):
    """Accounts and sessions begin and end here."""

    @property
    def session(self) -> Session | None:
        """The session, for keeping; None when signed out. Treat it as a password."""
        tokens = self.http.tokens
        if tokens is None:
            return None
        return Session(self.user_id, self.device_id, tokens.access_token, tokens.refresh_token)

    @property
    def access_token(self) -> str | None:
        """The access token of the session."""
        return self.http.access_token

    def use_session(self, session: Session) -> None:
        """Go on with a session of before."""
        self.user_id, self.device_id = session.user_id, session.device_id
        self.http.tokens = Tokens(session.access_token, session.refresh_token)

    async def login_flows(self) -> list[login_api.LoginFlow]:
        """Return the ways to sign in.

        https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3login
        """
        return (await self.http.typed(login_api.GetLoginFlows, login_api.GetLoginFlows.Response)).flows

    async def login(
        self,
        user: str,
        password: str,
        *,
        device_id: str | None = None,
        device_name: str | None = None,
        refresh_token: bool = False,
    ) -> Session:
        """Sign in with a user id or localpart and a password; with a `device_id` of before, as that device again.

        With `refresh_token` the homeserver may give a short-lived access token, which is renewed when it expires,
        unnoticed; keep what `on_new_tokens` is then given. Raises Refused (M_FORBIDDEN) when the password is wrong.
        https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3login
        """
        return await self._login(
            type="m.login.password",
            identifier={"type": "m.id.user", "user": user},
            password=password,
            device_id=device_id,
            initial_device_display_name=device_name,
            refresh_token=refresh_token or None,
        )

    async def login_with_token(
        self, token: str, *, device_name: str | None = None, refresh_token: bool = False
    ) -> Session:
        """Sign in with a token that another client got from `login_token`, or that single sign-on gave."""
        return await self._login(
            type="m.login.token",
            token=token,
            initial_device_display_name=device_name,
            refresh_token=refresh_token or None,
        )

    async def login_token(self, password: str) -> str:
        """Get a token with which another client of ours can sign in once, within minutes.

        https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv1loginget_token
        """
        answer = await self.through_stages(login_api.GetLoginToken, {}, self.password_stage(password))
        return as_described(login_api.GetLoginToken, login_api.GetLoginToken.Response, answer).login_token

    async def register(
        self,
        username: str,
        password: str,
        *,
        registration_token: str | None = None,
        device_name: str | None = None,
        refresh_token: bool = False,
    ) -> Session:
        """Make an account, going through the stages that need nobody to look at them, and sign in to it.

        Raises Refused: M_USER_IN_USE, M_INVALID_USERNAME, M_WEAK_PASSWORD, M_FORBIDDEN where registration is closed.
        https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3register
        """
        body = {
            "username": username,
            "password": password,
            "initial_device_display_name": device_name,
            "refresh_token": refresh_token or None,
        }
        answer = await self.through_stages(registration.Register, given(body), self._stages(registration_token))
        return self._begin(as_described(registration.Register, login_api.Login.Response, answer))

    def _stages(self, registration_token: str | None) -> Stages:
        return {
            "m.login.dummy": {},
            "m.login.terms": {},
            "m.login.registration_token": {"token": registration_token} if registration_token else None,
        }

    async def register_guest(self, *, device_name: str | None = None) -> Session:
        """Come in as a guest, where the homeserver takes guests, and sign in.

        https://spec.matrix.org/v1.19/client-server-api/#guest-access
        """
        body = given({"initial_device_display_name": device_name})
        answer = await self.http.call(registration.Register, query={"kind": "guest"}, body=body)
        return self._begin(as_described(registration.Register, login_api.Login.Response, answer))

    async def become_user(self, password: str, *, registration_token: str | None = None) -> Session:
        """Make a user of the guest that we are, and sign in as that."""
        name = self.user_id.partition(":")[0].removeprefix("@")
        body = {"username": name, "password": password, "guest_access_token": self.access_token}
        answer = await self.through_stages(registration.Register, body, self._stages(registration_token))
        return self._begin(as_described(registration.Register, login_api.Login.Response, answer))

    async def is_available(self, username: str) -> bool:
        """Return whether an account of that name could be made."""
        try:
            await self.http.call(registration.CheckUsername, query={"username": username})
        except Refused as refusal:
            if refusal.errcode in {"M_USER_IN_USE", "M_INVALID_USERNAME", "M_EXCLUSIVE"}:
                return False
            raise
        return True

    async def registration_token_is_valid(self, token: str) -> bool:
        """Return whether a registration token can still be used."""
        endpoint = registration.CheckRegistrationToken
        return (await self.http.typed(endpoint, endpoint.Response, query={"token": token})).valid

    async def whoami(self) -> account.WhoAmI.Response:
        """Ask whose access token we have, and take note of it.

        https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3accountwhoami
        """
        answer = await self.http.typed(account.WhoAmI, account.WhoAmI.Response)
        self.user_id, self.device_id = answer.user_id, answer.device_id or DeviceId("")
        return answer

    async def refresh(self) -> None:
        """Renew the tokens now; by itself that happens when the access token has expired.

        Raises SignedOut if there is no refresh token or it is no longer valid.
        https://spec.matrix.org/v1.19/client-server-api/#refreshing-access-tokens
        """
        await self.http.refresh()

    async def logout(self) -> None:
        """Sign out: the device is gone."""
        await self.http.call(login_api.Logout)
        self.http.tokens = None

    async def logout_all(self) -> None:
        """Sign out on every device."""
        await self.http.call(login_api.LogoutAll)
        self.http.tokens = None

    async def devices(self) -> list[device_api.ClientDevice]:
        """Return our devices.

        https://spec.matrix.org/v1.19/client-server-api/#device-management
        """
        return (await self.http.typed(device_api.ListDevices, device_api.ListDevices.Response)).devices

    async def device(self, device_id: DeviceId) -> device_api.ClientDevice:
        """Return one of our devices."""
        return await self.http.typed(device_api.GetDevice, device_api.ClientDevice, {"device_id": device_id})

    async def rename_device(self, device_id: DeviceId, name: str) -> None:
        """Give a device another name."""
        await self.http.call(device_api.RenameDevice, {"device_id": device_id}, body={"display_name": name})

    async def delete_device(self, device_id: DeviceId, password: str) -> None:
        """Delete a device, and sign it out."""
        stages = self.password_stage(password)
        await self.through_stages(device_api.DeleteDevice, {}, stages, path={"device_id": device_id})

    async def delete_devices(self, device_ids: Sequence[DeviceId], password: str) -> None:
        """Delete devices, and sign them out."""
        body = {"devices": list(device_ids)}
        await self.through_stages(device_api.DeleteDevices, body, self.password_stage(password))

    async def _login(self, **body: Any) -> Session:
        return self._begin(await self.http.typed(login_api.Login, login_api.Login.Response, body=given(body)))

    def _begin(self, answer: login_api.Login.Response) -> Session:
        session = Session(UserId(answer.user_id), answer.device_id, answer.access_token, answer.refresh_token)
        self.use_session(session)
        return session
