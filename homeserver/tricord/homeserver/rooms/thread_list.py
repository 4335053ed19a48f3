"""The threads of a room, as somebody may see them.

https://spec.matrix.org/v1.19/client-server-api/#querying-threads-in-a-room
"""

from __future__ import annotations

from dataclasses import replace

from tricord.homeserver.rooms.aggregations import Aggregation, Aggregations, can_be_root
from tricord.homeserver.rooms.client_events import ClientEvents
from tricord.homeserver.rooms.preferences import Preferences
from tricord.homeserver.rooms.thread_updates import decoded_start
from tricord.homeserver.rooms.timeline import Timeline
from tricord.homeserver.rooms.visibility import Seen, Visibility
from tricord.homeserver.serving.call import Requester
from tricord.homeserver.storage.aggregations import thread_roots
from tricord.homeserver.storage.database import Database
from tricord.protocol.events import redacted_copy
from tricord.protocol.identifiers import EventId, RoomId
from tricord.protocol.strict_json import JsonObject

MAX_THREADS = 100
# How often more is read where much of it cannot be seen.
_MAX_BATCHES = 10

_Before = tuple[int, EventId]


class ThreadList:
    """Answers which threads there are, those with the newest events first."""

    def __init__(
        self,
        database: Database,
        timeline: Timeline,
        visibility: Visibility,
        preferences: Preferences,
        aggregations: Aggregations,
        client_events: ClientEvents,
    ) -> None:
        self._database = database
        self._timeline = timeline
        self._visibility = visibility
        self._preferences = preferences
        self._aggregations = aggregations
        self._client_events = client_events

    async def page(
        self, requester: Requester, room_id: RoomId, *, participated: bool, limit: int, start: str | None
    ) -> JsonObject:
        """Return a page of threads, by the events that they begin with; without `next_batch` there are no more."""
        before = None if start is None else decoded_start(start)
        await self._visibility.reading(requester.user_id, room_id)
        limit = max(min(limit, MAX_THREADS), 1)
        found: list[Seen] = []
        aggregations: dict[EventId, Aggregation] = {}
        for _ in range(_MAX_BATCHES):
            missing = limit - len(found)
            roots = await self._database.read(
                thread_roots, room_id, requester.user_id, before, missing + 1, participated=participated
            )
            more = len(roots) > missing
            roots = roots[:missing]
            found += await self._seen(requester, room_id, [event_id for event_id, _ in roots], aggregations)
            if roots:
                event_id, latest = roots[-1]
                before = (latest, event_id)
            if not more:
                before = None
                break
            if len(found) >= limit:
                break
        answer: JsonObject = {"chunk": await self._client_events.seen(requester, found, aggregations)}
        if before is not None:
            answer["next_batch"] = _encoded(before)
        return answer

    async def _seen(
        self,
        requester: Requester,
        room_id: RoomId,
        event_ids: list[EventId],
        aggregations: dict[EventId, Aggregation],
    ) -> list[Seen]:
        """Return those events that the user may see and that a thread begins with; add what relates to them."""
        events = await self._timeline.events(event_ids)
        roots = [events[event_id] for event_id in event_ids if event_id in events]
        roots = [root for root in roots if root.event.room_id == room_id and can_be_root(root)]
        # A thread does not go with the one who began it: of an ignored one the root is shown, without its content.
        seen = await self._visibility.seen(requester.user_id, roots, ignored_too=True)
        ignored = await self._preferences.ignored_by(requester.user_id)
        aggregations |= await self._aggregations.of(requester.user_id, [one.stored for one in seen])
        shown = []
        for one in seen:
            aggregation = aggregations.get(one.stored.event.event_id)
            if aggregation is None or aggregation.thread is None:
                continue
            event = one.stored.event
            is_ignored = event.sender in ignored
            shown.append(Seen(replace(one.stored, event=redacted_copy(event)), one.membership) if is_ignored else one)
        return shown


def _encoded(before: _Before) -> str:
    return f"h1_{before[0]}_{before[1]}"
