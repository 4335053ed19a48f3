"""The order in which power events are applied: first what they stand on, then by the power of their senders.

https://spec.matrix.org/v1.19/rooms/v2/#definitions ("Reverse topological power ordering")
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Mapping

from tricord.protocol.events import Event
from tricord.protocol.identifiers import EventId
from tricord.protocol.numbered_rules import CREATE, POWER_LEVELS
from tricord.protocol.power_levels import Level, PowerLevels
from tricord.protocol.state_resolution.sources import EventSource, Steps


def power_order(events: Mapping[EventId, Event], source: EventSource, steps: Steps) -> list[Event]:
    """Return events from the first to the last, by Kahn's algorithm on their `auth_events`."""
    standing_on = {event_id: events.keys() & set(event.auth_events) for event_id, event in events.items()}
    held_up: defaultdict[EventId, list[EventId]] = defaultdict(list)
    for event_id, needed in standing_on.items():
        for other in needed:
            held_up[other].append(event_id)
    levels = _sender_levels(events, source)
    steps.take(len(events))

    def place(event_id: EventId) -> tuple[Level, int, EventId]:
        return -levels[event_id], events[event_id].origin_server_ts, event_id

    ready = [place(event_id) for event_id, needed in standing_on.items() if not needed]
    heapq.heapify(ready)
    ordered = []
    while ready:
        *_, event_id = heapq.heappop(ready)
        ordered.append(events[event_id])
        for other in held_up[event_id]:
            standing_on[other].remove(event_id)
            if not standing_on[other]:
                heapq.heappush(ready, place(other))
    return ordered


def create_event_id(event: Event) -> EventId | None:
    """Return the id of the create event that every event of the room stands on without naming it, if it is so."""
    return EventId(f"${event.room_id[1:]}") if event.version.room_id_is_create_event_id else None


def _sender_levels(events: Mapping[EventId, Event], source: EventSource) -> dict[EventId, Level]:
    """Return the level that the sender of each event has by that event's own `auth_events`."""
    creates = {create_id for event in events.values() if (create_id := create_event_id(event))}
    auth_ids = {auth_id for event in events.values() for auth_id in event.auth_events}
    known = source.events(creates | auth_ids)
    levels: dict[EventId, Level] = {}
    for event_id, event in events.items():
        named = [known[auth_id] for auth_id in event.auth_events if auth_id in known]
        state = {(auth_event.type, auth_event.state_key): auth_event for auth_event in named}
        create_id = create_event_id(event)
        create = known.get(create_id) if create_id else state.get(CREATE)
        power_levels = state.get(POWER_LEVELS)
        levels[event_id] = PowerLevels(create, power_levels).of_user(event.sender) if create else 0
    return levels
