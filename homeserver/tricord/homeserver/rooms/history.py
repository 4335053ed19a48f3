"""The history of a room as somebody may see it: page by page, around an event, or one event.

SQL of a page: one query for the events, what `Visibility` needs (nothing as a rule), one for what relates to those
events to which anything does, and one look at the state if members are loaded lazily. What is filtered out or invisible
does not end a page: reading goes on until there is enough, the history is at its end, or the budget of events is used
up.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import orjson

from tricord.homeserver.rooms.client_events import ClientEvents
from tricord.homeserver.rooms.retention import Retention
from tricord.homeserver.rooms.state import RoomState
from tricord.homeserver.rooms.stored_event import StateKey, StoredEvent
from tricord.homeserver.rooms.timeline import Direction, Page, Timeline
from tricord.homeserver.rooms.visibility import Seen, Visibility
from tricord.homeserver.serving.call import Requester
from tricord.homeserver.stream.publisher import Publisher
from tricord.homeserver.stream.tokens import Place, encode_place
from tricord.protocol.errors import NotFound
from tricord.protocol.event_filters import RoomEventFilter
from tricord.protocol.identifiers import EventId, RoomId, UserId
from tricord.protocol.strict_json import JsonObject

MAX_EVENTS = 1000
_MAX_EVENTS_AROUND = 100
# How many events are looked at together when few of them may be wanted, and how often, before the client is asked to
# come again from there.
_BATCH = 100
_MAX_BATCHES = 20
# How often what is missing is fetched for one of them: what was fetched may end at the next hole.
_MAX_FETCHES = 5

_MEMBER = "m.room.member"
_START = Place(0)
# Beyond every event, also those whose turn to be published has not come.
_END = Place(10**17)


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Which part of the history to read."""

    direction: Direction
    start: Place | None
    end: Place | None
    limit: int
    wanted: RoomEventFilter


@dataclass(frozen=True, slots=True)
class _Read:
    seen: list[Seen]
    next: Place | None
    parents: Collection[EventId]
    """Those of the events to which anything relates."""


class Filling(Enum):
    """What came of filling a hole in the history."""

    SOME = "some"
    """There is more of the history now, though there may be a hole again."""
    NOTHING = "nothing"
    """Nobody who was asked has what is missing."""
    LATER = "later"
    """It will be had when the room is complete, and nobody wanted to wait for that."""


class OlderHistory(Protocol):
    """Fetches history that is elsewhere."""

    async def fill(self, room_id: RoomId, gaps: Sequence[StoredEvent], *, patiently: bool = True) -> Filling:
        """Fetch what is missing before some events.

        In a room that is not complete yet, that may take long: `patiently`, it is waited for.
        """
        ...


class Elsewhere(Protocol):
    """Finds events by their time in history that is elsewhere."""

    async def fetch(self, room_id: RoomId, ts: int, direction: Direction, ours: StoredEvent | None) -> bool:
        """Fetch an event that is closer to a time than the closest one here; return whether there is one now."""
        ...


class History:
    """Answers what happened in rooms, to those who may know."""

    def __init__(
        self,
        state: RoomState,
        timeline: Timeline,
        visibility: Visibility,
        client_events: ClientEvents,
        publisher: Publisher,
        older: OlderHistory | None = None,
        elsewhere: Elsewhere | None = None,
        retention: Retention | None = None,
    ) -> None:
        self._state = state
        self._timeline = timeline
        self._visibility = visibility
        self._client_events = client_events
        self._publisher = publisher
        self._older = older
        self._elsewhere = elsewhere
        self._retention = retention

    async def page(self, requester: Requester, room_id: RoomId, request: PageRequest) -> JsonObject:
        """Return a page; without `end` there is nothing further."""
        user_id, backward = requester.user_id, request.direction is Direction.BACKWARD
        reading = await self._visibility.reading(user_id, room_id)
        start, end = request.start or (_END if backward else _START), request.end
        if not request.wanted.allows_room(room_id):
            return {"start": encode_place(self._told(start)), "chunk": []}
        if reading.left is not None:
            # Nothing after that can be seen, so there is no reason to look at it.
            last = reading.left.place
            start, end = (min(start, last), end) if backward else (start, min(end or last, last))
        limit = _least(request.limit, MAX_EVENTS, request.wanted.limit)
        read = await self._read(user_id, room_id, start, end, request.direction, limit, request.wanted)
        answer: JsonObject = {
            "start": encode_place(self._told(request.start or start, read.seen)),
            "chunk": await self._client_events.seen(requester, read.seen, parents=read.parents),
        }
        if read.next is not None:
            answer["end"] = encode_place(self._told(read.next, read.seen))
        if request.wanted.lazy_load_members and read.seen:
            events = [one.stored for one in read.seen]
            members = await self._state.at(events[0], _members_shown(events))
            answer["state"] = await self._client_events.state(requester, list(members.values()))
        return answer

    async def context(
        self, requester: Requester, room_id: RoomId, event_id: EventId, limit: int, wanted: RoomEventFilter
    ) -> JsonObject:
        """Return an event, what happened before and after it, and the state at the end of that.

        The filter is for all but the event itself; its limit is one of what is around, as `limit` is, not of the state.
        """
        target = await self._seen(requester.user_id, room_id, event_id)
        is_wanted = wanted.allows_room(room_id)
        limit = _least(limit, _MAX_EVENTS_AROUND, wanted.limit) if is_wanted else 0
        place = target.stored.place
        before = await self._read(
            requester.user_id, room_id, _just_before(place), None, Direction.BACKWARD, limit // 2, wanted
        )
        after = await self._read(requester.user_id, room_id, place, None, Direction.FORWARD, limit - limit // 2, wanted)
        events = [one.stored for one in (*reversed(before.seen), target, *after.seen)]
        state = await self._state.all_at(events[-1]) if is_wanted else {}
        shown = set(_members_shown(events)) if wanted.lazy_load_members else None
        of_interest = [
            stored
            for key, stored in state.items()
            if wanted.allows(stored.event) and (shown is None or key[0] != _MEMBER or key in shown)
        ]
        formatted = self._client_events
        return {
            "start": encode_place(_just_before(events[0].place)),
            "end": encode_place(events[-1].place),
            "event": (await formatted.seen(requester, [target]))[0],
            "events_before": await formatted.seen(requester, before.seen, parents=before.parents),
            "events_after": await formatted.seen(requester, after.seen, parents=after.parents),
            "state": await formatted.state(requester, of_interest),
        }

    async def event(self, requester: Requester, room_id: RoomId, event_id: EventId) -> orjson.Fragment:
        """Return one event."""
        seen = await self._seen(requester.user_id, room_id, event_id)
        return (await self._client_events.seen(requester, [seen]))[0]

    async def closest_to(self, requester: Requester, room_id: RoomId, ts: int, direction: Direction) -> StoredEvent:
        """Return the visible event closest to a time, in one direction from it."""
        await self._visibility.reading(requester.user_id, room_id)
        found = await self._timeline.closest_to(room_id, ts, direction)
        if self._elsewhere is not None and await self._elsewhere.fetch(room_id, ts, direction, found):
            found = await self._timeline.closest_to(room_id, ts, direction)
        if found is not None:
            start = _just_before(found.place) if direction is Direction.FORWARD else found.place
            read = await self._read(requester.user_id, room_id, start, None, direction, 1, RoomEventFilter())
            if read.seen:
                return read.seen[0].stored
        raise NotFound(f"there is no event in {room_id} from {ts} in direction {direction.value}")

    def _told(self, start: Place, seen: Sequence[Seen] = ()) -> Place:
        """Return the start of a page as a client is told it: the end of all history is where we are now."""
        if start != _END:
            return start
        return max([Place(self._publisher.position), *(one.stored.place for one in seen[:1])])

    async def _seen(self, user_id: UserId, room_id: RoomId, event_id: EventId) -> Seen:
        stored = await self._timeline.event(event_id)
        seen = await self._visibility.seen(user_id, [] if stored is None else [stored])
        if not seen or seen[0].stored.event.room_id != room_id:
            # Whether it exists is nobody's business who may not see it.
            raise NotFound(f"there is no event {event_id} in {room_id} that {user_id} can see")
        return seen[0]

    async def _read(
        self,
        user_id: UserId,
        room_id: RoomId,
        start: Place,
        end: Place | None,
        direction: Direction,
        limit: int,
        wanted: RoomEventFilter,
    ) -> _Read:
        """Read what the user may see and wants to, until there is enough of it."""
        seen: list[Seen] = []
        parents: set[EventId] = set()
        place: Place | None = start
        for _ in range(_MAX_BATCHES):
            missing = limit - len(seen)
            if place is None or missing <= 0:
                break
            size = missing if wanted.allows_everything else max(missing, _BATCH)
            page, waiting = await self._page(room_id, place, end, direction, size)
            more = await self._visibility.seen(
                user_id, [stored for stored in page.events if wanted.allows(stored.event)]
            )
            if waiting and not any(one.stored.backfill_rank for one in (*seen, *more)):
                # There is no history yet to be shown in the meantime.
                await self._fill(room_id, waiting, patiently=True)
                continue
            seen += more[:missing]
            parents |= page.parents
            place = page.next
            if len(more) > missing:
                last = seen[-1].stored.place
                place = _just_before(last) if direction is Direction.BACKWARD else last
            if waiting:
                break
        return _Read(seen, place, parents)

    async def _page(
        self, room_id: RoomId, start: Place, end: Place | None, direction: Direction, limit: int
    ) -> tuple[Page, Sequence[StoredEvent]]:
        """Return a page, with what was fetched for it, and the holes that can be filled only when the room is complete.

        Read backwards, a page ends at a hole that may still be filled: nobody may take that for the end of the history.
        """
        is_patient = direction is Direction.FORWARD
        page = await self._timeline.page(room_id, start, end, direction, limit)
        for _ in range(_MAX_FETCHES):
            gaps = await self._kept(room_id, page.gaps)
            filling = await self._fill(room_id, gaps, patiently=is_patient)
            if filling is Filling.NOTHING:
                return page, ()
            if filling is Filling.LATER:
                return _upto(page, gaps[0], start), gaps
            page = await self._timeline.page(room_id, start, end, direction, limit)
        gaps = await self._kept(room_id, page.gaps)
        return (_upto(page, gaps[0], start) if gaps and not is_patient else page), ()

    async def _fill(self, room_id: RoomId, gaps: Sequence[StoredEvent], *, patiently: bool) -> Filling:
        """Fetch what is missing before some events."""
        if self._older is None or not gaps:
            return Filling.NOTHING
        return await self._older.fill(room_id, gaps, patiently=patiently)

    async def _kept(self, room_id: RoomId, gaps: Sequence[StoredEvent]) -> Sequence[StoredEvent]:
        """Return those of some events before which history is kept: what came before the others would be deleted."""
        if self._retention is None or not gaps:
            return gaps
        horizon = (await self._retention.horizons([room_id])).get(room_id, 0)
        return [stored for stored in gaps if stored.event.origin_server_ts > horizon]


def _upto(page: Page, stored: StoredEvent, start: Place) -> Page:
    """Return a page, read backwards from a place, up to one of its events: the next one begins with that."""
    if stored not in page.events:
        return Page((), start)  # it is the one before
    return Page(page.events[: page.events.index(stored)], stored.place, parents=page.parents)


def _least(*limits: int | None) -> int:
    """Return the one of some limits that limits the most; None is no limit."""
    return min(limit for limit in limits if limit is not None)


def _just_before(place: Place) -> Place:
    """Return the gap right before an event, and after all history that was fetched later."""
    return Place(place.position, place.rank - 1)


def _members_shown(events: Iterable[StoredEvent]) -> list[StateKey]:
    """Return the members whose names a client needs to show the events.

    https://spec.matrix.org/v1.19/client-server-api/#lazy-loading-room-members
    """
    return list(dict.fromkeys((_MEMBER, stored.event.sender) for stored in events))
