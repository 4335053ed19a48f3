"""Many events, as one reader sees them, ready to be spliced into a response."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence

import orjson

from tricord.homeserver.clock import Clock
from tricord.homeserver.rooms.aggregations import Aggregation, Aggregations, told_whole
from tricord.homeserver.rooms.client_format import Reader, client_event_for, companions_of
from tricord.homeserver.rooms.stored_event import StoredEvent
from tricord.homeserver.rooms.timeline import Timeline
from tricord.homeserver.rooms.visibility import Seen
from tricord.homeserver.serving.call import Requester
from tricord.protocol.identifiers import EventId


class ClientEvents:
    """Formats what readers have been found to be allowed to see; one query for all that is shown beside the events."""

    def __init__(self, timeline: Timeline, aggregations: Aggregations, clock: Clock) -> None:
        self._timeline = timeline
        self._aggregations = aggregations
        self._clock = clock

    async def seen(
        self,
        requester: Requester,
        seen: Sequence[Seen],
        aggregations: Mapping[EventId, Aggregation] | None = None,
        *,
        parents: Container[EventId] | None = None,
    ) -> list[orjson.Fragment]:
        """Return events of a timeline, with what relates to them, which is looked up if it is not known yet.

        `parents` holds those to which anything relates, if that is known.
        """
        if aggregations is None:
            asked = [one.stored for one in seen if parents is None or one.stored.event.event_id in parents]
            aggregations = await self._aggregations.of(requester.user_id, asked)
        return await self._format(requester, [(one.stored, one.membership) for one in seen], aggregations)

    async def state(self, requester: Requester, events: Sequence[StoredEvent]) -> list[orjson.Fragment]:
        """Return events of a room's state."""
        return await self._format(requester, [(stored, None) for stored in events], {})

    async def _format(
        self,
        requester: Requester,
        events: Sequence[tuple[StoredEvent, str | None]],
        aggregations: Mapping[EventId, Aggregation],
    ) -> list[orjson.Fragment]:
        reader, now_ms = Reader(requester.user_id, requester.device_id), self._clock.now_ms()
        told = [stored for stored, _ in events] + told_whole(aggregations.values())
        companions = await companions_of(told, self._timeline)
        return [
            orjson.Fragment(
                client_event_for(
                    stored,
                    reader,
                    now_ms,
                    companions=companions,
                    membership=membership,
                    aggregation=aggregations.get(stored.event.event_id),
                )
            )
            for stored, membership in events
        ]
