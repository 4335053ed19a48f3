"""Rooms that were joined with their members left out, and are being completed.

Such a room can be used at once: everything but its members is known, and what local users do in it needs no more than
their own membership; nor does reading what was said before they came. What needs the others waits until all is known
(`until_complete`); what other servers send of the room waits too, so that nothing is ever shown that the whole state
would not have let in. `peers/completion.py` fetches.

https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv2send_joinroomideventid
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import trio

from tricord.homeserver.storage import partial_rooms as storage
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.gathered_reads import GatheredReads
from tricord.homeserver.storage.partial_rooms import PartialRoom
from tricord.protocol.errors import LimitExceeded
from tricord.protocol.identifiers import EventId, RoomId, ServerName

# How long a request waits for a room to be complete. Then the client is asked to come again, while it still listens.
_PATIENCE_SECONDS = 20
_RETRY_AFTER_MS = 10_000
_MOST_POSTPONED = 20_000


class PartialRooms:
    """Knows which rooms are not complete."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: Mapping[RoomId, PartialRoom] | None = None
        self._changed = trio.Event()
        # They are few, and read as one thing.
        self._reads: GatheredReads[None, None] = GatheredReads(self._read_all)
        database.listen(storage.CHANNEL, self._forget)

    async def all(self) -> Mapping[RoomId, PartialRoom]:
        """Return the rooms that are not complete, and those that once were not."""
        while (known := self._known) is None:
            await self._reads.get([None])
        return known

    async def get(self, room_id: RoomId) -> PartialRoom | None:
        """Return a room that is not complete: its members are fetched, or its history is judged by what they are."""
        found = (await self.all()).get(room_id)
        return found if found is not None and found.is_unfinished else None

    async def servers_without_members(self, room_id: RoomId) -> Sequence[ServerName]:
        """Return the servers that are, or were, in a room whose members never were all known here."""
        found = (await self.all()).get(room_id)
        return () if found is None or found.complete_position is not None else found.servers

    async def until_complete(self, room_id: RoomId) -> None:
        """Return when the members of a room are all known; LimitExceeded if that takes too long."""
        with trio.move_on_after(_PATIENCE_SECONDS):
            while await self.get(room_id) is not None:
                await self.change.wait()
            return
        raise LimitExceeded(
            f"the members of {room_id} are still being fetched from other servers", retry_after_ms=_RETRY_AFTER_MS
        )

    @property
    def change(self) -> trio.Event:
        """What is set when next a room becomes partial, or complete, or something waits for one."""
        return self._changed

    async def begin(
        self,
        room_nid: int,
        join_event_id: EventId,
        servers: Sequence[ServerName],
        told_root: bytes,
        now_ms: int,
    ) -> None:
        """Note a room that is about to be joined, as far as it was told."""
        await self._database.run(storage.begin_partial_room, room_nid, join_event_id, servers, told_root, now_ms)
        self._forget()

    async def leave(self, room_nid: int) -> None:
        """Note that this server has left a room before it was complete."""
        await self._database.run(storage.leave_partial_room, room_nid)
        self._forget()

    async def forget(self, room_id: RoomId) -> None:
        """Forget that a room is partial, or was: this server did not get into it."""
        if (found := (await self.all()).get(room_id)) is not None:
            await self._database.run(storage.forget_partial_room, found.room_nid)
            self._forget()

    async def join_wholly(self, room_id: RoomId, join_event_id: EventId) -> None:
        """Note that this server has joined a room anew that was partial the last time, and is not now."""
        if (found := (await self.all()).get(room_id)) is not None:
            await self._database.run(storage.join_wholly, found.room_nid, join_event_id)
            self._forget()

    async def postpones(self, room_id: RoomId) -> bool:
        """Return whether what comes of a room has to wait: it is not complete, or what came before waits still."""
        found = (await self.all()).get(room_id)
        return found is not None and (found.is_unfinished or found.has_postponed)

    async def postpone(self, room_nid: int, origin: ServerName, pdus: Sequence[bytes]) -> bool:
        """Keep what another server sent until the room is complete; return False if too much waits already."""
        kept = await self._database.run(storage.postpone_events, room_nid, origin, pdus, _MOST_POSTPONED)
        # It may have become complete just now, and nobody would look again.
        self._forget()
        return kept

    def look_again(self) -> None:
        """Wake those who wait for a change."""
        self._forget()

    async def _read_all(self, _keys: Sequence[None]) -> Mapping[None, None]:
        """Read them, and know them if nothing has changed meanwhile."""
        changed = self._changed
        rows = await self._database.read(storage.partial_rooms)
        if changed is self._changed:
            self._known = {row.room_id: row for row in rows}
        return {}

    def _forget(self, _payload: str = "") -> None:
        self._known = None
        self._changed.set()
        self._changed = trio.Event()
