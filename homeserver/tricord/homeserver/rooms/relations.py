"""What relates to an event, as somebody may see it.

https://spec.matrix.org/v1.19/client-server-api/#relationships-api
"""

from __future__ import annotations

from dataclasses import dataclass

from tricord.homeserver.rooms.client_events import ClientEvents
from tricord.homeserver.rooms.timeline import Direction, Timeline
from tricord.homeserver.rooms.visibility import Seen, Visibility
from tricord.homeserver.serving.call import Requester
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.relations import related_events
from tricord.homeserver.stream.tokens import Place, encode_place
from tricord.protocol.errors import NotFound
from tricord.protocol.identifiers import EventId, RoomId
from tricord.protocol.strict_json import JsonObject

MAX_EVENTS = 500
# "Homeservers SHOULD traverse at least 3 levels of relationships."
_DEPTH = 3
_MAX_BATCHES = 20
_START = Place(-1)
_END = Place(10**17)


@dataclass(frozen=True, slots=True)
class RelationsRequest:
    """Which relations to read."""

    rel_type: str | None
    event_type: str | None
    direction: Direction
    start: Place | None
    end: Place | None
    limit: int
    recurse: bool | None


class Relations:
    """Answers what relates to an event.

    SQL: the event, one query for the relations and one for their events, and what `Visibility` needs for both.
    """

    def __init__(
        self, database: Database, timeline: Timeline, visibility: Visibility, client_events: ClientEvents
    ) -> None:
        self._database = database
        self._timeline = timeline
        self._visibility = visibility
        self._client_events = client_events

    async def page(
        self, requester: Requester, room_id: RoomId, event_id: EventId, request: RelationsRequest
    ) -> JsonObject:
        """Return a page of relations; without `next_batch` there are no more."""
        parent = await self._timeline.event(event_id)
        if (
            parent is None
            or parent.event.room_id != room_id
            or not await self._visibility.visible(requester.user_id, [parent])
        ):
            raise NotFound(f"there is no event {event_id} in {room_id} that {requester.user_id} can see")
        seen, place = await self._read(requester, event_id, request)
        answer: JsonObject = {"chunk": await self._client_events.seen(requester, seen)}
        if place is not None:
            answer["next_batch"] = encode_place(place)
        if request.start is not None:
            answer["prev_batch"] = encode_place(request.start)
        if request.recurse is not None:
            answer["recursion_depth"] = _DEPTH if request.recurse else 1
        return answer

    async def _read(
        self, requester: Requester, event_id: EventId, request: RelationsRequest
    ) -> tuple[list[Seen], Place | None]:
        """Read on until there are enough visible events; return them, and where to go on, if there is more."""
        backward = request.direction is Direction.BACKWARD
        start, end = (_END, _START) if backward else (_START, _END)
        place, end = request.start or start, request.end or end
        limit = max(min(request.limit, MAX_EVENTS), 1)
        seen: list[Seen] = []
        for _ in range(_MAX_BATCHES):
            missing = limit - len(seen)
            ids = await self._database.read(
                related_events,
                event_id,
                request.rel_type,
                request.event_type,
                start=place,
                end=end,
                backward=backward,
                depth=_DEPTH if request.recurse else 1,
                limit=missing + 1,
            )
            events = await self._timeline.events(ids[:missing])
            found = [events[related] for related in ids if related in events]
            seen += await self._visibility.seen(requester.user_id, found)
            if len(ids) <= missing:
                return seen, None
            last = found[-1].place
            place = Place(last.position, last.rank - 1) if backward else last
            if len(seen) >= limit:
                break
        return seen, place
