"""The aliases of this server: who may make and remove them, and what they stand for.

https://spec.matrix.org/v1.19/client-server-api/#room-aliases
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

import trio

from tricord.homeserver.clock import Clock
from tricord.homeserver.rooms.append import Draft, Log
from tricord.homeserver.rooms.canonical_alias import (
    check_canonical_alias_form,
    listed_aliases,
    without_alias,
)
from tricord.homeserver.rooms.memberships import Memberships
from tricord.homeserver.rooms.standing import Standing, standing
from tricord.homeserver.rooms.state import RoomState
from tricord.homeserver.rooms.visibility import Visibility
from tricord.homeserver.serving.call import Requester
from tricord.homeserver.storage import aliases as storage
from tricord.homeserver.storage.database import Database
from tricord.protocol.errors import AliasTaken, BadAlias, Forbidden, InvalidParam, NotFound, RoomInUse
from tricord.protocol.identifiers import (
    RoomAlias,
    RoomId,
    ServerName,
    UserId,
    parse_room_alias,
    server_name_of,
)
from tricord.protocol.strict_json import JsonObject

_CANONICAL_ALIAS = ("m.room.canonical_alias", "")


@dataclass(frozen=True, slots=True)
class Reservation:
    """An alias that is kept for a room which is being created."""

    alias: RoomAlias
    _creator: UserId
    _database: Database

    async def settle(self, room_id: RoomId) -> None:
        """Let the alias stand for the room."""
        await self._database.run(storage.settle_alias, self.alias, room_id, self._creator)


class RemoteAliases(Protocol):
    """Asks other servers for their aliases."""

    async def resolve(self, alias: RoomAlias) -> tuple[RoomId, list[ServerName]]:
        """Return the room that an alias stands for, and servers that are in it; raise NotFound if there is none."""
        ...


class Aliases:
    """Keeps the aliases of this server."""

    def __init__(
        self,
        database: Database,
        log: Log,
        state: RoomState,
        memberships: Memberships,
        visibility: Visibility,
        clock: Clock,
        server_name: ServerName,
        remote: RemoteAliases | None = None,
    ) -> None:
        self._remote = remote
        self._database = database
        self._log = log
        self._state = state
        self._memberships = memberships
        self._visibility = visibility
        self._clock = clock
        self._server_name = server_name

    async def resolve(self, alias: RoomAlias) -> tuple[RoomId, list[ServerName]]:
        """Return the room that an alias stands for, and servers that are in it; other servers are asked for theirs."""
        if self._is_ours(alias) or self._remote is None:
            return await self.resolve_local(alias)
        return await self._remote.resolve(alias)

    async def resolve_local(self, alias: RoomAlias) -> tuple[RoomId, list[ServerName]]:
        """Return the room that an alias stands for, and servers that are in it, ours first."""
        found = await self._database.read(storage.alias_named, alias) if self._is_ours(alias) else None
        if found is None or found.room_id is None:
            raise NotFound(f"room alias {alias} not found")
        members = await self._memberships.joined_members(found.room_id)
        others = {server_name_of(member) for member in members} - {self._server_name}
        return found.room_id, [self._server_name, *sorted(others)]

    async def of_room(self, requester: Requester, room_id: RoomId) -> list[RoomAlias]:
        """Return the local aliases of a room, to those who may read its state."""
        await self._visibility.check_may_read_now(requester.user_id, room_id)
        return await self._database.read(storage.aliases_of_room, room_id)

    async def add(self, requester: Requester, alias: RoomAlias, room_id: RoomId) -> None:
        """Let an alias stand for a room; the requester must be in it."""
        self._check_ours(alias)
        room = await standing(self._state, room_id, [requester.user_id])
        if not requester.is_admin:
            room.check_joined(requester.user_id)
        if not await self._database.run(storage.add_alias, alias, room_id, requester.user_id, self._clock.now_ms()):
            raise AliasTaken(f"room alias {alias} already exists")

    async def remove(self, requester: Requester, alias: RoomAlias) -> None:
        """Take an alias away, and out of the room's `m.room.canonical_alias` if the requester may set that."""
        self._check_ours(alias)
        found = await self._database.read(storage.alias_named, alias)
        if found is None or found.room_id is None:
            raise NotFound(f"room alias {alias} not found")
        user_id = requester.user_id
        room = await standing(self._state, found.room_id, [user_id], [_CANONICAL_ALIAS])
        if user_id != found.creator and not requester.is_admin:
            room.check_may_set_state(user_id, "m.room.canonical_alias")
        await self._database.run(storage.remove_alias, alias)
        await self._unlist(user_id, alias, room)

    @asynccontextmanager
    async def reserved(self, localpart: str, creator: UserId) -> AsyncIterator[Reservation]:
        """Keep an alias for a room while it is created; what is not settled at the end is free again."""
        if any(character.isspace() for character in localpart):
            raise InvalidParam("a room alias cannot contain white space")
        alias = parse_room_alias(f"#{localpart}:{self._server_name}")
        self._check_ours(alias)
        if not await self._database.run(storage.add_alias, alias, None, creator, self._clock.now_ms()):
            raise RoomInUse(f"room alias {alias} is already taken")
        try:
            yield Reservation(alias, creator, self._database)
        finally:
            with trio.CancelScope(shield=True):
                await self._database.run(storage.drop_reservation, alias, creator)

    async def check_canonical(self, room_id: RoomId, content: JsonObject) -> None:
        """Refuse a canonical alias event whose new aliases are invalid or stand for another room."""
        before = (await standing(self._state, room_id, keys=[_CANONICAL_ALIAS])).content(*_CANONICAL_ALIAS)
        new = check_canonical_alias_form(content, before)
        if not new:
            return
        rooms = await self._database.read(storage.rooms_of_aliases, new)
        for alias in new:
            if rooms.get(alias) != room_id:
                raise BadAlias(f"the alias {alias} does not point to {room_id}")

    async def _unlist(self, user_id: UserId, alias: RoomAlias, room: Standing) -> None:
        content = room.content(*_CANONICAL_ALIAS)
        if alias not in listed_aliases(content):
            return
        draft = Draft(room.room_id, user_id, *_CANONICAL_ALIAS, without_alias(content, alias))
        try:
            await self._log.append(draft)
        except Forbidden:
            # The alias is gone all the same: "return a successful response even if the user does not have
            # permission to update the `m.room.canonical_alias` event".
            return

    def _is_ours(self, alias: RoomAlias) -> bool:
        return server_name_of(alias) == self._server_name

    def _check_ours(self, alias: RoomAlias) -> None:
        if not self._is_ours(alias):
            raise InvalidParam(f"{alias} belongs to another server: aliases here end in :{self._server_name}")
