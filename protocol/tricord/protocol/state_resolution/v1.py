"""State resolution of the first room version.

https://spec.matrix.org/v1.19/rooms/v1/#state-resolution
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence

from tricord.protocol.authorization import authorize
from tricord.protocol.errors import EventRejected
from tricord.protocol.events import Event
from tricord.protocol.identifiers import EventId
from tricord.protocol.numbered_rules import POWER_LEVELS, StateKey
from tricord.protocol.state_resolution.auth_checks import keys_needed_by
from tricord.protocol.state_resolution.conflicts import Conflict
from tricord.protocol.state_resolution.sources import EventSource, Steps

State = dict[StateKey, Event]


def resolve_v1(conflict: Conflict, source: EventSource, steps: Steps) -> dict[StateKey, EventId]:
    """Return the events that win, by their keys."""
    candidates: defaultdict[StateKey, list[Event]] = defaultdict(list)
    for event in source.events(conflict.event_ids).values():
        candidates[event.type, event.state_key or ""].append(event)
    for events in candidates.values():
        events.sort(key=lambda event: hashlib.sha1(event.event_id.encode(), usedforsecurity=False).digest())
        events.sort(key=lambda event: event.depth, reverse=True)
    room = _shared_state(conflict, candidates, source)

    resolved: State = {}
    for event_type in (POWER_LEVELS[0], "m.room.join_rules", "m.room.member"):
        # Winners of the same pass do not judge each other: their order would have to be told from something.
        winners = {
            key: _last_of_a_line(events, room, steps) for key, events in candidates.items() if key[0] == event_type
        }
        resolved |= winners
        room |= winners
    for key, events in candidates.items():
        if key not in resolved:
            resolved[key] = _deepest_allowed(events, room, steps)
    return {key: event.event_id for key, event in resolved.items()}


def _shared_state(conflict: Conflict, candidates: dict[StateKey, list[Event]], source: EventSource) -> State:
    """Load what the rules need of the shared state."""
    needed = {key for events in candidates.values() for event in events for key in keys_needed_by(event)}
    event_ids = {conflict.shared[key]: key for key in needed if key in conflict.shared}
    return {event_ids[event_id]: event for event_id, event in source.events(event_ids.keys()).items()}


def _last_of_a_line(events: Sequence[Event], room: State, steps: Steps) -> Event:
    """Return how far one gets from the least deep event on, each judged with the one before it in place."""
    *later, winner = events
    state = dict(room)
    for event in reversed(later):
        state[winner.type, winner.state_key or ""] = winner
        if not _is_allowed(event, state, steps):
            break
        winner = event
    return winner


def _deepest_allowed(events: Sequence[Event], room: State, steps: Steps) -> Event:
    """Return the deepest event that is allowed; if none is, the least deep one."""
    return next((event for event in events if _is_allowed(event, room, steps)), events[-1])


def _is_allowed(event: Event, state: State, steps: Steps) -> bool:
    steps.take()
    try:
        authorize(event, state)
    except EventRejected:
        return False
    return True
