"""The order in which all but power events are applied: by the power levels that they were made under.

The mainline is the chain of power levels that leads to those in force. An event made under an older link comes before
one made under a newer.

https://spec.matrix.org/v1.19/rooms/v2/#definitions ("Mainline ordering")
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

from tricord.protocol.events import Event
from tricord.protocol.identifiers import EventId
from tricord.protocol.numbered_rules import POWER_LEVELS
from tricord.protocol.state_resolution.sources import EventSource, Steps


def mainline_order(
    events: Iterable[Event], power_levels: EventId | None, source: EventSource, steps: Steps
) -> list[Event]:
    """Return events from the first to the last, by the mainline of the power levels in force."""
    mainline = _Mainline(power_levels, source, steps)
    events = list(events)
    mainline.read_ahead(events)
    return sorted(events, key=lambda event: (-mainline.position(event), event.origin_server_ts, event.event_id))


class _Mainline:
    """The chain of power levels, and where other chains of power levels meet it."""

    def __init__(self, power_levels: EventId | None, source: EventSource, steps: Steps) -> None:
        self._source = source
        self._steps = steps
        self._known: dict[EventId, Event] = {}
        self._positions: dict[EventId, float] = {}
        position = 0
        while power_levels is not None and power_levels not in self._positions:
            self._positions[power_levels] = position
            position += 1
            power_levels = self._power_levels_of(self._event(power_levels))

    def read_ahead(self, events: Iterable[Event]) -> None:
        """Load what some events name, at once."""
        self._load(auth_id for event in events for auth_id in event.auth_events)

    def position(self, event: Event) -> float:
        """Return which link of the mainline an event stands on; infinite if on none."""
        passed: list[EventId] = []
        link = self._power_levels_of(event)
        while link is not None and link not in self._positions:
            # Off the mainline until shown otherwise; where servers choose event ids, a chain may bite its tail.
            self._positions[link] = inf
            passed.append(link)
            link = self._power_levels_of(self._event(link))
        position = inf if link is None else self._positions[link]
        # Whoever comes along here again is told at once: a thousand events share a long chain.
        self._positions.update(dict.fromkeys(passed, position))
        return position

    def _power_levels_of(self, event: Event | None) -> EventId | None:
        """Return the power levels among the `auth_events` of an event."""
        self._steps.take()
        if event is None:
            return None
        self._load(event.auth_events)
        for auth_id in event.auth_events:
            auth_event = self._event(auth_id)
            if auth_event is not None and (auth_event.type, auth_event.state_key) == POWER_LEVELS:
                return auth_id
        return None

    def _event(self, event_id: EventId) -> Event | None:
        if event_id not in self._known:
            self._load((event_id,))
        return self._known.get(event_id)

    def _load(self, event_ids: Iterable[EventId]) -> None:
        missing = {event_id for event_id in event_ids if event_id not in self._known}
        if missing:
            self._known.update(self._source.events(missing))
