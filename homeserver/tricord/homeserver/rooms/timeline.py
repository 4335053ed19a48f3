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
from tricord.protocol.events import VerifiedEvent
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
    is_cut: bool = False
    """Whether it begins where this server lacks what was before: see `Timeline.unbroken`."""


@dataclass(frozen=True, slots=True)
class Page:
    """Events in the order of reading."""

    events: tuple[StoredEvent, ...]
    next: Place | None
    """Where reading goes on; None at the end."""
    gaps: tuple[StoredEvent, ...] = ()
    """Those of the events that name one before them which is not here; read backwards, also of the event before."""
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

    async def unbroken(self, stretches: Mapping[RoomId, Stretch]) -> dict[RoomId, Stretch]:
        """Return stretches from where nothing is missing in them any more.

        While this server was not in a room, more was said than it was told. That is fetched when somebody reads
        backwards, and does not come into any stretch: who was told what is on both sides of it would never ask.
        """
        doubtful = {room_id: some for room_id, one in stretches.items() if (some := _doubtful(one))}
        if not doubtful:
            return dict(stretches)
        before = {
            event_id for of_room in doubtful.values() for _, stored in of_room for event_id in stored.event.prev_events
        }
        known = await self.events(before)
        found = dict(stretches)
        for room_id, of_room in doubtful.items():
            cuts = [place for place, stored in of_room if not _follows_any(stored, known)]
            if cuts:
                found[room_id] = Stretch(stretches[room_id].events[max(cuts) :], limited=True, is_cut=True)
        return found

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
        if direction is Direction.BACKWARD and start.rank < 0 and not (events and events[0].place == start):
            # Reading goes on before an event that was told already, and there is nothing that leads up to it.
            above = await self._database.read(events_after, room_id, start, None, 1)
            gaps = (*(row.stored for row in above if row.names_missing), *gaps)
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


def _doubtful(stretch: Stretch) -> list[tuple[int, StoredEvent]]:
    """Return the events that may come after something that is missing, and their places in a stretch.

    What follows another event of the stretch does not. Of the first, only joins are looked at: nobody else comes anew.
    """
    doubtful = []
    earlier: set[EventId] = set()
    for place, stored in enumerate(stretch.events):
        event = stored.event
        if event.prev_events and earlier.isdisjoint(event.prev_events) and (place or _is_join(event)):
            doubtful.append((place, stored))
        earlier.add(event.event_id)
    return doubtful


def _follows_any(stored: StoredEvent, known: Mapping[EventId, StoredEvent]) -> bool:
    """Return whether an event came after one that is known, be it long ago, and not only after what it left out.

    What was fetched since, because it leads up to the event, shares its position.
    """
    before = [known[event_id] for event_id in stored.event.prev_events if event_id in known]
    return any(one.rejected or (one.position is not None and one.position < (stored.position or 0)) for one in before)


def _is_join(event: VerifiedEvent) -> bool:
    return event.type == "m.room.member" and event.content.get("membership") == "join"
