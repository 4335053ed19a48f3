"""One's own account: sessions, devices, password, profile, account data, filters."""

from __future__ import annotations

from typing import Any

from tricord.clients.api import account, account_data, profile, registration
from tricord.clients.api import devices as device_api
from tricord.clients.api import login as login_api
from tricord.clients.api.capabilities import GetCapabilities
from tricord.clients.api.filters import CreateFilter, GetFilter
from tricord.clients.api.versions import GetVersions
from tricord.clients.calls.base import Calls
from tricord.clients.endpoint import Endpoint
from tricord.clients.errors import Refused
from tricord.protocol.identifiers import DeviceId, RoomId, UserId


class AccountCalls(Calls):
    """Everything about our own account."""

    async def versions(self) -> GetVersions.Response:
        """Return the versions of the specification that the homeserver speaks, and what it has beyond them."""
        return await self.http.typed(GetVersions, GetVersions.Response)

    async def capabilities(self) -> dict[str, Any]:
        """Return what the homeserver lets us do."""
        return (await self.http.typed(GetCapabilities, GetCapabilities.Response)).capabilities

    async def login_flows(self) -> list[login_api.LoginFlow]:
        """Return the ways to sign in."""
        return (await self.http.typed(login_api.GetLoginFlows, login_api.GetLoginFlows.Response)).flows

    async def login(
        self,
        user: str,
        password: str,
        *,
        device_id: str | None = None,
        device_name: str | None = None,
    ) -> None:
        """Sign in with a user id or localpart and a password; with a `device_id` of before, as that device again."""
        body = {
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": user},
            "password": password,
            "device_id": device_id,
            "initial_device_display_name": device_name,
        }
        answer = await self.http.typed(login_api.Login, login_api.Login.Response, body=_given(body))
        self.use_session(answer.user_id, answer.access_token, answer.device_id)

    async def login_with_token(self, token: str) -> None:
        """Sign in with a token that another client got from `login_token`, or that single sign-on gave."""
        body = {"type": "m.login.token", "token": token}
        answer = await self.http.typed(login_api.Login, login_api.Login.Response, body=body)
        self.use_session(answer.user_id, answer.access_token, answer.device_id)

    async def register(
        self, username: str, password: str, *, registration_token: str | None = None, device_name: str | None = None
    ) -> None:
        """Make an account, going through the stages that need nobody to look at them, and sign in to it."""
        body: dict[str, Any] = {
            "username": username,
            "password": password,
            "initial_device_display_name": device_name,
        }
        stages = {
            "m.login.dummy": {},
            "m.login.terms": {},
            "m.login.registration_token": {"token": registration_token} if registration_token else None,
        }
        answer = registration.Register.Response.model_validate(
            await self._through_stages(registration.Register, {}, _given(body), stages)
        )
        self.use_session(answer.user_id, answer.access_token or "", answer.device_id or DeviceId(""))

    def use_session(self, user_id: UserId, access_token: str, device_id: str) -> None:
        """Go on with a session of before."""
        self.user_id, self.device_id = user_id, DeviceId(device_id)
        self.http.access_token = access_token

    async def whoami(self) -> account.WhoAmI.Response:
        """Ask whose access token we have, and take note of it."""
        answer = await self.http.typed(account.WhoAmI, account.WhoAmI.Response)
        self.user_id, self.device_id = answer.user_id, answer.device_id or DeviceId("")
        return answer

    async def refresh(self, refresh_token: str) -> login_api.Refresh.Response:
        """Get a new access token, and use it from now on."""
        answer = await self.http.typed(
            login_api.Refresh, login_api.Refresh.Response, body={"refresh_token": refresh_token}
        )
        self.http.access_token = answer.access_token
        return answer

    async def login_token(self, password: str) -> str:
        """Get a token with which another client of ours can sign in once."""
        answer = await self._through_stages(login_api.GetLoginToken, {}, {}, self._password_stage(password))
        return login_api.GetLoginToken.Response.model_validate(answer).login_token

    async def logout(self) -> None:
        """Sign out: the device is gone."""
        await self.http.call(login_api.Logout)
        self.http.access_token = None

    async def logout_all(self) -> None:
        """Sign out on every device."""
        await self.http.call(login_api.LogoutAll)
        self.http.access_token = None

    async def change_password(self, password: str, new_password: str, *, logout_devices: bool = True) -> None:
        """Change the password, and by default sign out all other devices."""
        body = {"new_password": new_password, "logout_devices": logout_devices}
        await self._through_stages(account.ChangePassword, {}, body, self._password_stage(password))

    async def deactivate(self, password: str, *, erase: bool = False) -> None:
        """End the account for good."""
        await self._through_stages(account.Deactivate, {}, {"erase": erase}, self._password_stage(password))
        self.http.access_token = None

    async def devices(self) -> list[device_api.ClientDevice]:
        """Return our devices."""
        return (await self.http.typed(device_api.ListDevices, device_api.ListDevices.Response)).devices

    async def device(self, device_id: DeviceId) -> device_api.ClientDevice:
        """Return one of our devices."""
        return await self.http.typed(device_api.GetDevice, device_api.ClientDevice, {"device_id": device_id})

    async def rename_device(self, device_id: DeviceId, name: str) -> None:
        """Give a device another name."""
        await self.http.call(device_api.RenameDevice, {"device_id": device_id}, body={"display_name": name})

    async def delete_devices(self, device_ids: list[DeviceId], password: str) -> None:
        """Delete devices, and sign them out."""
        body = {"devices": device_ids}
        await self._through_stages(device_api.DeleteDevices, {}, body, self._password_stage(password))

    async def profile(self, user_id: UserId | None = None) -> dict[str, Any]:
        """Return the profile of a user, or our own."""
        answer: dict[str, Any] = await self.http.call(profile.GetProfile, {"user_id": user_id or self.user_id})
        return answer

    async def set_profile(self, field: str, value: Any) -> None:
        """Write one field of our profile: `displayname`, `avatar_url`, or one of any other name."""
        path = {"user_id": self.user_id, "key_name": field}
        await self.http.call(profile.SetProfileField, path, body={field: value})

    async def delete_profile(self, field: str) -> None:
        """Delete one field of our profile."""
        await self.http.call(profile.DeleteProfileField, {"user_id": self.user_id, "key_name": field})

    async def account_data(self, data_type: str, *, room_id: RoomId | None = None) -> dict[str, Any] | None:
        """Return what we keep under a type, for all or for a room; None if nothing."""
        path = {"user_id": self.user_id, "type": data_type}
        try:
            if room_id is None:
                found = await self.http.call(account_data.GetAccountData, path)
            else:
                found = await self.http.call(account_data.GetRoomAccountData, {**path, "room_id": room_id})
        except Refused as refusal:
            if refusal.errcode == "M_NOT_FOUND":
                return None
            raise
        content: dict[str, Any] = found
        return content

    async def set_account_data(self, data_type: str, content: dict[str, Any], *, room_id: RoomId | None = None) -> None:
        """Keep something under a type, for all or for a room."""
        path = {"user_id": self.user_id, "type": data_type}
        if room_id is None:
            await self.http.call(account_data.SetAccountData, path, body=content)
        else:
            await self.http.call(account_data.SetRoomAccountData, {**path, "room_id": room_id}, body=content)

    async def tags(self, room_id: RoomId) -> dict[str, Any]:
        """Return the tags we have put on a room."""
        path = {"user_id": self.user_id, "room_id": room_id}
        return dict((await self.http.typed(account_data.GetTags, account_data.GetTags.Response, path)).tags)

    async def set_tag(self, room_id: RoomId, tag: str, *, order: float | None = None) -> None:
        """Put a tag on a room."""
        path = {"user_id": self.user_id, "room_id": room_id, "tag": tag}
        await self.http.call(account_data.SetTag, path, body={} if order is None else {"order": order})

    async def delete_tag(self, room_id: RoomId, tag: str) -> None:
        """Take a tag off a room."""
        path = {"user_id": self.user_id, "room_id": room_id, "tag": tag}
        await self.http.call(account_data.DeleteTag, path)

    async def create_filter(self, definition: dict[str, Any]) -> str:
        """Keep a filter and return its id."""
        path = {"user_id": self.user_id}
        return (await self.http.typed(CreateFilter, CreateFilter.Response, path, body=definition)).filter_id

    async def get_filter(self, filter_id: str) -> dict[str, Any]:
        """Return a filter that we kept."""
        path = {"user_id": self.user_id, "filter_id": filter_id}
        definition: dict[str, Any] = await self.http.call(GetFilter, path)
        return definition

    def _password_stage(self, password: str) -> dict[str, dict[str, Any] | None]:
        identifier = {"type": "m.id.user", "user": self.user_id}
        return {"m.login.password": {"identifier": identifier, "password": password}}

    async def _through_stages(
        self,
        endpoint: type[Endpoint],
        path: dict[str, str],
        body: dict[str, Any],
        known: dict[str, dict[str, Any] | None],
    ) -> Any:
        """Call an endpoint, completing the stages of user-interactive authentication that we have something for.

        https://spec.matrix.org/v1.19/client-server-api/#user-interactive-authentication-api
        """
        done: set[str] = set()
        while True:
            try:
                return await self.http.call(endpoint, path, body=body)
            except Refused as refusal:
                asked = refusal.body
                completed = set(asked.get("completed") or ())
                # A stage that was tried and is not completed has failed: trying again would fail again.
                stage = _next_stage(
                    asked.get("flows") or (), completed, {name for name in known if known[name] is not None}
                )
                if refusal.status != 401 or stage is None or stage in done:
                    raise
                done.add(stage)
                body = {**body, "auth": {"type": stage, "session": asked.get("session"), **(known[stage] or {})}}


def _next_stage(flows: Any, completed: set[str], known: set[str]) -> str | None:
    """Return the first stage to do of the first flow that we can complete."""
    for flow in flows:
        stages = flow.get("stages") or []
        missing = [stage for stage in stages if stage not in completed]
        if missing and set(missing) <= known:
            return str(missing[0])
    return None


def _given(body: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if value is not None}
