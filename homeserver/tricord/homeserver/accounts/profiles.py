"""What users show of themselves.

https://spec.matrix.org/v1.19/client-server-api/#profiles
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import orjson

from tricord.homeserver.accounts.listing import list_local_users
from tricord.homeserver.accounts.profile_fields import MEMBER_FIELDS, check_field_name, check_size, check_value
from tricord.homeserver.storage.accounts import account_by_id, locked_account
from tricord.homeserver.storage.database import Database, Transaction
from tricord.homeserver.storage.gathered_reads import GatheredReads
from tricord.homeserver.storage.profiles import delete_profile_field, profile_fields, put_profile_field
from tricord.homeserver.storage.room_updates import request_room_update
from tricord.protocol.errors import NotFound
from tricord.protocol.identifiers import ServerName, UserId, server_name_of
from tricord.protocol.strict_json import JsonObject


class RemoteProfiles(Protocol):
    """Asks other servers."""

    async def profile(self, user_id: UserId) -> JsonObject:
        """Return a remote user's profile; raise NotFound if the other server has none."""
        ...


class Profiles:
    """Reads and writes profiles of local users, and reads those of others."""

    def __init__(
        self,
        server_name: ServerName,
        database: Database,
        remote: RemoteProfiles | None = None,
        *,
        rooms_to_tell: Callable[[], None],
    ) -> None:
        self._server_name = server_name
        self._database = database
        self._remote = remote
        self._rooms_to_tell = rooms_to_tell
        self._fields = GatheredReads[UserId, dict[str, bytes]](lambda users: database.read(profile_fields, users))

    async def profile(self, user_id: UserId) -> JsonObject:
        """Return all that a user shows; raise NotFound if there is no such user."""
        if server_name_of(user_id) != self._server_name:
            return await self._remote_profiles().profile(user_id)
        return await self.local_profile(user_id)

    async def field(self, user_id: UserId, name: str) -> Any:
        """Return one field; raise NotFound if the user does not show it."""
        check_field_name(name)
        if server_name_of(user_id) != self._server_name:
            profile = await self._remote_profiles().profile(user_id)
        else:
            profile = await self.local_profile(user_id)
        if name not in profile:
            raise NotFound(f"{user_id} has no profile field {name}")
        return profile[name]

    async def local_profile(self, user_id: UserId) -> JsonObject:
        """Return all that a local user shows; raise NotFound if there is no such user, or no longer."""
        profile = await self._stored(user_id)
        if not profile:
            account = await self._database.read(account_by_id, user_id)
            if account is None or account.deactivated:
                raise NotFound(f"there is no user {user_id}")
        return profile

    async def member_profile(self, user_id: UserId) -> JsonObject:
        """Return `displayname` and `avatar_url` as member events carry them; what is not set is absent."""
        profile = await self._stored(user_id)
        return {name: profile[name] for name in MEMBER_FIELDS if name in profile}

    async def set(self, user_id: UserId, name: str, value: Any) -> None:
        """Write a field of a local user; their rooms hear of a new name or avatar soon after."""
        check_field_name(name)
        check_value(name, value)
        if value == "" and name in MEMBER_FIELDS:
            # How clients took off a name or an avatar before there was DELETE.
            await self.delete(user_id, name)
            return
        await self._database.run(self._set, user_id, name, orjson.dumps(value))
        self._tell_rooms(name)

    async def delete(self, user_id: UserId, name: str) -> None:
        """Delete a field of a local user, if they have it."""
        check_field_name(name)
        await self._database.run(self._delete, user_id, name)
        self._tell_rooms(name)

    async def _stored(self, user_id: UserId) -> JsonObject:
        fields = (await self._fields.get([user_id]))[user_id]
        return {name: orjson.loads(value) for name, value in fields.items()}

    async def _set(self, tx: Transaction, user_id: UserId, name: str, value: bytes) -> None:
        # The size is that of all fields together: nobody may add another one meanwhile.
        await locked_account(tx, user_id)
        fields = (await profile_fields(tx, [user_id]))[user_id]
        if fields.get(name) == value:
            return
        check_size({**fields, name: value})
        await put_profile_field(tx, user_id, name, value)
        await self._note_change(tx, user_id, name)

    async def _delete(self, tx: Transaction, user_id: UserId, name: str) -> None:
        if await delete_profile_field(tx, user_id, name):
            await self._note_change(tx, user_id, name)

    async def _note_change(self, tx: Transaction, user_id: UserId, name: str) -> None:
        if name in MEMBER_FIELDS:
            await request_room_update(tx, user_id, "profile")
            await list_local_users(tx, [user_id])

    def _tell_rooms(self, name: str) -> None:
        if name in MEMBER_FIELDS:
            self._rooms_to_tell()

    def _remote_profiles(self) -> RemoteProfiles:
        if self._remote is None:
            raise NotFound("profiles of other servers are not available")
        return self._remote
