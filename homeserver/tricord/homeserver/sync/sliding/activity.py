"""When something last happened in rooms, and what kind of rooms they are: by which room lists are ordered and filtered.

Kept in memory for all rooms that anybody lists, since a list looks at every room of a user at every change.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.room_activity import bump_positions, room_activities
from tricord.homeserver.stream.publisher import Commit, Publisher
from tricord.protocol.identifiers import RoomId

_MOST_REMEMBERED = 500_000
# What counts as something proper to happen: a reaction, or somebody's new name, does not.
BUMPING = frozenset(
    {
        "m.room.create",
        "m.room.message",
        "m.room.encrypted",
        "m.sticker",
        "m.call.invite",
        "m.poll.start",
        "org.matrix.msc3381.poll.start",
        "m.beacon_info",
        "org.matrix.msc3672.beacon_info",
    }
)


class Activity(NamedTuple):
    """What a list knows of a room."""

    last: int
    """The position of the last event."""
    room_type: str | None


class RoomActivity:
    """Knows when something last happened where."""

    def __init__(self, database: Database, publisher: Publisher) -> None:
        self._database = database
        self._known: dict[RoomId, Activity] = {}
        # What happens while rooms are being read.
        self._meanwhile: list[dict[RoomId, int]] = []
        publisher.observe(self._note, self._forget_all)

    async def of(self, room_ids: Collection[RoomId]) -> Mapping[RoomId, Activity]:
        """Return what is known of those of the rooms that are here."""
        known = self._known
        try:
            return {room_id: known[room_id] for room_id in room_ids}
        except KeyError:
            read = await self._read([room_id for room_id in room_ids if room_id not in known])
        found = {room_id: one for room_id in room_ids if (one := known.get(room_id) or read.get(room_id))}
        if len(known) + len(read) > _MOST_REMEMBERED:
            known.clear()
        known |= read
        return found

    async def _read(self, room_ids: Collection[RoomId]) -> dict[RoomId, Activity]:
        meanwhile: dict[RoomId, int] = {}
        self._meanwhile.append(meanwhile)
        try:
            return {
                room_id: Activity(max(last, meanwhile.get(room_id, 0)), room_type)
                for room_id, last, room_type in await self._database.read(room_activities, room_ids)
            }
        finally:
            self._meanwhile.remove(meanwhile)

    async def bumps(self, room_ids: Collection[RoomId], upto: int) -> Mapping[RoomId, int]:
        """Return when something proper last happened in rooms."""
        return await self._database.read(bump_positions, room_ids, list(BUMPING), upto)

    def _note(self, commit: Commit) -> None:
        if not commit.has_events:
            return
        for room_id in commit.rooms:
            if (known := self._known.get(room_id)) is not None:
                self._known[room_id] = known._replace(last=max(known.last, commit.position))
            for meanwhile in self._meanwhile:
                meanwhile[room_id] = commit.position

    def _forget_all(self, _position: int) -> None:
        self._known.clear()
