"""Many events, as one reader sees them, ready to be spliced into a response."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from tricord.homeserver.clock import Clock
from tricord.homeserver.rooms.client_format import Reader, client_event_for, companions_of
from tricord.homeserver.rooms.stored_event import StoredEvent
from tricord.homeserver.rooms.timeline import Timeline
from tricord.homeserver.rooms.visibility import Seen
from tricord.homeserver.serving.call import Requester


class ClientEvents:
    """Formats what readers have been found to be allowed to see; one query for all that is shown beside the events."""

    def __init__(self, timeline: Timeline, clock: Clock) -> None:
        self._timeline = timeline
        self._clock = clock

    async def seen(self, requester: Requester, seen: Sequence[Seen]) -> list[orjson.Fragment]:
        """Return events of a timeline."""
        return await self._format(requester, [(one.stored, one.membership) for one in seen])

    async def state(self, requester: Requester, events: Sequence[StoredEvent]) -> list[orjson.Fragment]:
        """Return events of a room's state."""
        return await self._format(requester, [(stored, None) for stored in events])

    async def _format(
        self, requester: Requester, events: Sequence[tuple[StoredEvent, str | None]]
    ) -> list[orjson.Fragment]:
        reader, now_ms = Reader(requester.user_id, requester.device_id), self._clock.now_ms()
        companions = await companions_of([stored for stored, _ in events], self._timeline)
        return [
            orjson.Fragment(client_event_for(stored, reader, now_ms, companions=companions, membership=membership))
            for stored, membership in events
        ]
