"""One's own account: password, profile, account data, tags, filters."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from tricord.clients.api import account, account_data, profile
from tricord.clients.api.filters import CreateFilter, GetFilter
from tricord.clients.api.openid import RequestOpenIdToken
from tricord.clients.calls.base import Calls, given
from tricord.clients.errors import Refused
from tricord.protocol.identifiers import RoomId, UserId


class AccountCalls(Calls):
    """What belongs to the user, on whatever device."""

    async def change_password(self, password: str, new_password: str, *, logout_devices: bool = True) -> None:
        """Change the password, and by default sign out all other devices.

        https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3accountpassword
        """
        body = {"new_password": new_password, "logout_devices": logout_devices}
        await self.through_stages(account.ChangePassword, body, self.password_stage(password))

    async def deactivate(self, password: str, *, erase: bool = False) -> None:
        """End the account for good; `erase` asks that what it said is shown to nobody who comes later.

        https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3accountdeactivate
        """
        await self.through_stages(account.Deactivate, {"erase": erase}, self.password_stage(password))
        self.http.tokens = None

    async def third_party_ids(self) -> list[dict[str, Any]]:
        """Return the e-mail addresses and phone numbers of the account."""
        return (await self.http.typed(account.GetThirdPartyIds, account.GetThirdPartyIds.Response)).threepids

    async def profile(self, user_id: UserId | None = None) -> dict[str, Any]:
        """Return the profile of a user, or our own. Raises Refused (M_NOT_FOUND) where there is no such user.

        https://spec.matrix.org/v1.19/client-server-api/#profiles
        """
        answer: dict[str, Any] = await self.http.call(profile.GetProfile, {"user_id": user_id or self.user_id})
        return answer

    async def profile_field(self, field: str, user_id: UserId | None = None) -> Any:
        """Return one field of a profile; None if it is not set."""
        path = {"user_id": user_id or self.user_id, "field": field}
        found = await _found(self.http.call(profile.GetProfileField, path))
        return None if found is None else found.get(field)

    async def set_profile(self, field: str, value: Any) -> None:
        """Write one field of our profile: `displayname`, `avatar_url`, or one of any other name."""
        path = {"user_id": self.user_id, "field": field}
        await self.http.call(profile.SetProfileField, path, body={field: value})

    async def delete_profile(self, field: str) -> None:
        """Delete one field of our profile."""
        await self.http.call(profile.DeleteProfileField, {"user_id": self.user_id, "field": field})

    async def account_data(self, data_type: str, *, room_id: RoomId | None = None) -> dict[str, Any] | None:
        """Return what we keep under a type, for all or for a room; None if nothing.

        https://spec.matrix.org/v1.19/client-server-api/#client-config
        """
        path = {"user_id": self.user_id, "type": data_type}
        if room_id is None:
            return await _found(self.http.call(account_data.GetAccountData, path))
        return await _found(self.http.call(account_data.GetRoomAccountData, {**path, "room_id": room_id}))

    async def set_account_data(self, data_type: str, content: dict[str, Any], *, room_id: RoomId | None = None) -> None:
        """Keep something under a type, for all or for a room."""
        path = {"user_id": self.user_id, "type": data_type}
        if room_id is None:
            await self.http.call(account_data.SetAccountData, path, body=content)
        else:
            await self.http.call(account_data.SetRoomAccountData, {**path, "room_id": room_id}, body=content)

    async def tags(self, room_id: RoomId) -> dict[str, Any]:
        """Return the tags we have put on a room, and what is known of each.

        https://spec.matrix.org/v1.19/client-server-api/#room-tagging
        """
        path = {"user_id": self.user_id, "room_id": room_id}
        return (await self.http.typed(account_data.GetTags, account_data.GetTags.Response, path)).tags

    async def set_tag(self, room_id: RoomId, tag: str, *, order: float | None = None) -> None:
        """Put a tag on a room; `order`, from 0 to 1, is its place among rooms with that tag."""
        path = {"user_id": self.user_id, "room_id": room_id, "tag": tag}
        await self.http.call(account_data.SetTag, path, body=given({"order": order}))

    async def delete_tag(self, room_id: RoomId, tag: str) -> None:
        """Take a tag off a room."""
        path = {"user_id": self.user_id, "room_id": room_id, "tag": tag}
        await self.http.call(account_data.DeleteTag, path)

    async def create_filter(self, definition: dict[str, Any]) -> str:
        """Keep a filter and return its id.

        https://spec.matrix.org/v1.19/client-server-api/#filtering
        """
        path = {"user_id": self.user_id}
        return (await self.http.typed(CreateFilter, CreateFilter.Response, path, body=definition)).filter_id

    async def get_filter(self, filter_id: str) -> dict[str, Any]:
        """Return a filter that we kept."""
        path = {"user_id": self.user_id, "filter_id": filter_id}
        definition: dict[str, Any] = await self.http.call(GetFilter, path)
        return definition

    async def openid_token(self) -> RequestOpenIdToken.Response:
        """Return a token that tells another service who we are.

        https://spec.matrix.org/v1.19/client-server-api/#openid
        """
        path = {"user_id": self.user_id}
        return await self.http.typed(RequestOpenIdToken, RequestOpenIdToken.Response, path, body={})


async def _found(call: Awaitable[Any]) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = await call
    except Refused as refusal:
        if refusal.errcode == "M_NOT_FOUND":
            return None
        raise
    return found
