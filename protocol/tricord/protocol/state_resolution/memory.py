"""Events that are all in memory."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from tricord.protocol.events import Event
from tricord.protocol.identifiers import EventId
from tricord.protocol.state_resolution.sources import Steps
from tricord.protocol.state_resolution.walked_chains import WalkedAuthChains


class EventsInMemory(WalkedAuthChains):
    """Both an `EventSource` and the `AuthChains` of a resolution, for who has loaded all that it may ask for."""

    def __init__(
        self,
        events: Mapping[EventId, Event],
        rejected: Collection[EventId] = frozenset(),
        steps: Steps | None = None,
    ) -> None:
        super().__init__(self._auth_events, steps)
        self._events = events
        self._rejected = rejected

    def events(self, event_ids: Collection[EventId]) -> Mapping[EventId, Event]:
        """Return events by id, without those that are not there."""
        known = self._events
        return {event_id: known[event_id] for event_id in event_ids if event_id in known}

    def is_rejected(self, event_id: EventId) -> bool:
        """Return whether an event was rejected."""
        return event_id in self._rejected

    def _auth_events(self, event_ids: Collection[EventId]) -> dict[EventId, Sequence[EventId]]:
        return {event_id: event.auth_events for event_id, event in self.events(event_ids).items()}
