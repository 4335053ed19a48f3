"""The first events of rooms: written apart from others, since there is no head yet that could have moved."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import trio

from tricord.homeserver.rooms.cached_rooms import CachedRoom, CachedRooms
from tricord.homeserver.rooms.chain import Chain, Signer
from tricord.homeserver.rooms.commit import Committer
from tricord.homeserver.rooms.drafts import Draft, check_storable
from tricord.homeserver.rooms.event_numbers import EventNumbers
from tricord.homeserver.rooms.room_write import RoomWrite
from tricord.homeserver.rooms.state_map import EMPTY
from tricord.homeserver.rooms.stored_event import StoredEvent
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.errors import UniqueViolation
from tricord.homeserver.storage.rooms import new_room_nid
from tricord.protocol.identifiers import RoomId, UserId
from tricord.protocol.room_versions import RoomVersion
from tricord.protocol.strict_json import JsonObject

_MOST_ROOMS = 16


@dataclass(slots=True, eq=False)
class _Creation:
    """The first events of a room, and who waits for them."""

    write: RoomWrite
    done: trio.Event = field(default_factory=trio.Event)
    positions: Mapping[int, int] = field(default_factory=dict)
    error: Exception | None = None


class NewRooms:
    """Writes the first events of rooms."""

    def __init__(
        self, database: Database, rooms: CachedRooms, signer: Signer, numbers: EventNumbers, committer: Committer
    ) -> None:
        self._database = database
        self._rooms = rooms
        self._signer = signer
        self._numbers = numbers
        self._committer = committer
        self._waiting: list[_Creation] = []
        self._has_work = trio.Event()

    async def create(
        self, version: RoomVersion, creator: UserId, create_content: JsonObject, drafts: Sequence[Draft]
    ) -> tuple[RoomId, list[StoredEvent]]:
        """Make a room of a create event and the drafts, as `Log.create_room` says."""
        for draft in drafts:
            check_storable(draft)
        ts = self._signer.clock.now_ms()
        while True:
            try:
                return await self._create(version, creator, create_content, drafts, ts)
            except UniqueViolation:
                # The same room at the same millisecond: where the id is a hash, it would be the same id.
                ts += 1

    async def _create(
        self, version: RoomVersion, creator: UserId, create_content: JsonObject, drafts: Sequence[Draft], ts: int
    ) -> tuple[RoomId, list[StoredEvent]]:
        nids = await self._numbers.take(len(drafts) + 1)
        room_nid = await self._database.read(new_room_nid)
        opaque = RoomId(f"!{secrets.token_urlsafe(18)}:{self._signer.server_name}")
        room = CachedRoom(room_nid, opaque, version, 0, EMPTY, ())
        chain = Chain(room, self._signer, {})
        chain.add([Draft(opaque, creator, "m.room.create", "", create_content, origin_server_ts=ts)], nids)
        room_id = room.room_id = chain.links[0].event.room_id
        chain.add([replace(draft, room_id=room_id) for draft in drafts], nids)
        await self._committer.settle([chain])
        creation = _Creation(chain.settled())
        self._waiting.append(creation)
        self._has_work.set()
        await creation.done.wait()
        if creation.error is not None:
            raise creation.error
        return room_id, [link.stored(creation.positions[link.nid]) for link in chain.links]

    async def run(self) -> None:
        """Write new rooms, for ever; those that wait while others are written go together into the next transaction."""
        while True:
            group, self._waiting = self._waiting[:_MOST_ROOMS], self._waiting[_MOST_ROOMS:]
            if not group:
                self._has_work = trio.Event()
                await self._has_work.wait()
                continue
            if not await self._write(group):
                for creation in group:
                    await self._write([creation])

    async def _write(self, group: Sequence[_Creation]) -> bool:
        """Write new rooms and answer; return False, with nothing done, if one of several cannot be written."""
        writes = [creation.write for creation in group]
        try:
            moved, positions = await self._committer.put_new_rooms(writes)
        except Exception as error:  # noqa: BLE001 - it is the waiting caller's, and raised there
            if len(group) > 1:
                return False
            group[0].error = error
        else:
            for each in writes:
                self._rooms.add_new(each.room)
            self._committer.take_in(writes, moved, positions)
            for creation in group:
                creation.positions = positions
        for creation in group:
            creation.done.set()
        return True
