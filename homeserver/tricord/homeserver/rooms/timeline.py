"""Reading the history of rooms, by place. Nobody is asked for permission here: see `visibility.py`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum

from tricord.homeserver.rooms.cached_rooms import CachedRooms
from tricord.homeserver.rooms.stored_event import StoredEvent
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.events import (
    events_after,
    events_before,
    events_by_id,
    first_event_since,
    last_event_until,
    newest_events,
)
from tricord.homeserver.stream.tokens import Place
from tricord.protocol.identifiers import EventId, RoomId

_TAIL_EVENTS = 50


class Direction(Enum):
    """Which way to read."""

    FORWARD = "f"
    BACKWARD = "b"


@dataclass(frozen=True, slots=True)
class Stretch:
    """The newest events between two positions, oldest first; `limited`: there are more before them."""

    events: tuple[StoredEvent, ...]
    limited: bool


@dataclass(frozen=True, slots=True)
class Page:
    """Events in the order of reading."""

    events: tuple[StoredEvent, ...]
    next: Place | None
    """Where reading goes on; None at the end."""
    gaps: tuple[StoredEvent, ...] = ()
    """Those of the events that name one before them which is not here."""
    parents: frozenset[EventId] = frozenset()
    """Those of the events to which anything relates."""


class Timeline:
    """What happened in rooms. Rejected and soft-failed events, and outliers, did not."""

    def __init__(self, database: Database, rooms: CachedRooms) -> None:
        self._database = database
        self._rooms = rooms

    async def recent(self, room_id: RoomId, *, after: int, upto: int, limit: int) -> Stretch:
        """Return the newest live events of a room between two positions; `upto` is published already."""
        return (await self.recent_in_rooms({room_id: after}, upto=upto, limit=limit))[room_id]

    async def recent_in_rooms(self, after: Mapping[RoomId, int], *, upto: int, limit: int) -> dict[RoomId, Stretch]:
        """Return the same for many rooms at once, each with its own lower bound."""
        return await self._recent({room_id: (position, upto) for room_id, position in after.items()}, limit)

    async def recent_between(self, between: Mapping[RoomId, tuple[int, int]], *, limit: int) -> dict[RoomId, Stretch]:
        """Return the same for many rooms at once, each between two positions of its own."""
        return await self._recent(between, limit)

    async def last_until(self, positions: Mapping[RoomId, int]) -> dict[RoomId, StoredEvent]:
        """Return the last live event of each room at or before a position; rooms that have none are absent."""
        found = await self._recent({room_id: (0, position) for room_id, position in positions.items()}, 1)
        return {room_id: stretch.events[-1] for room_id, stretch in found.items() if stretch.events}

    async def _recent(self, between: Mapping[RoomId, tuple[int, int]], limit: int) -> dict[RoomId, Stretch]:
        rooms = await self._rooms.rooms(between.keys())
        found = {}
        not_in_memory = []
        for room_id, (after, upto) in between.items():
            room = rooms.get(room_id)
            if room is None:
                found[room_id] = Stretch((), limited=False)
                continue
            known = None if room.tail is None else room.tail.newest(after=after, upto=upto, limit=limit)
            if known is None and len(between) == 1 and limit <= _TAIL_EVENTS:
                # The next reader will most likely want the same.
                tail = await self._rooms.read_tail(room, _TAIL_EVENTS)
                known = tail.newest(after=after, upto=upto, limit=limit)
            if known is None:
                not_in_memory.append((room_id, after, upto))
            else:
                found[room_id] = Stretch(tuple(known[0]), limited=known[1])
        if not_in_memory:
            read = await self._database.read(newest_events, not_in_memory, limit + 1)
            for room_id, *_ in not_in_memory:
                events = read.get(room_id, [])
                found[room_id] = Stretch(tuple(events[-limit:]), limited=len(events) > limit)
        return found

    async def page(self, room_id: RoomId, start: Place, end: Place | None, direction: Direction, limit: int) -> Page:
        """Return up to `limit` events from one gap of the history towards another."""
        read = events_before if direction is Direction.BACKWARD else events_after
        rows = await self._database.read(read, room_id, start, end, limit + 1)
        shown = rows[:limit]
        events = tuple(row.stored for row in shown)
        gaps = tuple(row.stored for row in shown if row.names_missing)
        parents = frozenset(row.stored.event.event_id for row in shown if row.has_children)
        if len(rows) <= limit:
            return Page(events, None, gaps, parents)
        last = events[limit - 1].place
        if direction is Direction.BACKWARD:
            last = Place(last.position, last.rank - 1)  # the gap before it
        return Page(events, last, gaps, parents)

    async def event(self, event_id: EventId) -> StoredEvent | None:
        """Return an event by its id, outliers and rejected ones too."""
        return (await self.events([event_id])).get(event_id)

    async def events(self, event_ids: Collection[EventId]) -> dict[EventId, StoredEvent]:
        """Return those of the events that are here, outliers and rejected ones too."""
        return await self._database.read(events_by_id, list(event_ids)) if event_ids else {}

    async def closest_to(self, room_id: RoomId, ts: int, direction: Direction) -> StoredEvent | None:
        """Return the first event at or after a time, or the last at or before it, by the senders' clocks."""
        read = last_event_until if direction is Direction.BACKWARD else first_event_since
        return await self._database.read(read, room_id, ts)
