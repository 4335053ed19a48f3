"""When something last happened in rooms, and what kind of rooms they are: by which room lists are ordered and filtered.

Kept in memory for all rooms that anybody lists, since a list looks at every room of a user at every change.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
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


@dataclass(eq=False, slots=True)
class _Reading:
    """What happens while rooms are being read, of which the answer may know nothing."""

    moved: dict[RoomId, int] = field(default_factory=dict)
    is_overtaken: bool = False
    """Whether anything may have happened."""


class RoomActivity:
    """Knows when something last happened where."""

    def __init__(self, database: Database, publisher: Publisher) -> None:
        self._database = database
        self._known: dict[RoomId, Activity] = {}
        self._readings: set[_Reading] = set()
        publisher.observe(self._note, self._forget_all)

    async def of(self, room_ids: Collection[RoomId]) -> Mapping[RoomId, Activity]:
        """Return what is known of those of the rooms that are here."""
        known = self._known
        try:
            return {room_id: known[room_id] for room_id in room_ids}
        except KeyError:
            found = {room_id: known[room_id] for room_id in room_ids if room_id in known}
        return found | await self._read([room_id for room_id in room_ids if room_id not in found])

    async def _read(self, room_ids: Collection[RoomId]) -> dict[RoomId, Activity]:
        reading = _Reading()
        self._readings.add(reading)
        try:
            answer = await self._database.read(room_activities, room_ids)
        finally:
            self._readings.remove(reading)
        moved = reading.moved
        read = {room_id: Activity(max(last, moved.get(room_id, 0)), room_type) for room_id, last, room_type in answer}
        if not reading.is_overtaken:
            if len(self._known) + len(read) > _MOST_REMEMBERED:
                self._known.clear()
            self._known |= read
        return read

    async def bumps(self, room_ids: Collection[RoomId], upto: int) -> Mapping[RoomId, int]:
        """Return when something proper last happened in rooms."""
        return await self._database.read(bump_positions, room_ids, list(BUMPING), upto)

    def _note(self, commit: Commit) -> None:
        if not commit.has_events:
            return
        for room_id in commit.rooms:
            if (known := self._known.get(room_id)) is not None:
                self._known[room_id] = known._replace(last=max(known.last, commit.position))
            for reading in self._readings:
                reading.moved[room_id] = max(commit.position, reading.moved.get(room_id, 0))

    def _forget_all(self, _position: int) -> None:
        self._known.clear()
        for reading in self._readings:
            reading.is_overtaken = True
