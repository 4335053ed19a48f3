"""Applying events to a state one after the other, leaving out those that the rules refuse.

https://spec.matrix.org/v1.19/rooms/v2/#definitions ("Iterative auth checks")
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tricord.protocol.authorization import auth_event_keys, authorize
from tricord.protocol.errors import EventRejected
from tricord.protocol.events import Event
from tricord.protocol.identifiers import EventId
from tricord.protocol.numbered_rules import CREATE, StateKey
from tricord.protocol.state_resolution.conflicts import StateIds
from tricord.protocol.state_resolution.power_order import create_event_id
from tricord.protocol.state_resolution.sources import EventSource, Steps


def apply_in_order(
    events: Sequence[Event],
    state: dict[StateKey, EventId],
    base: StateIds,
    source: EventSource,
    steps: Steps,
) -> None:
    """Add to a state the events which may follow; `base` holds what the state does not have of its own."""
    needed = {event.event_id: keys_needed_by(event) for event in events}
    known = _load(events, needed, state, base, source)
    for event in events:
        steps.take()
        room = _named_by(event, known, source)
        for key in needed[event.event_id]:
            event_id = state.get(key) or base.get(key)
            if event_id is not None and event_id in known:
                room[key] = known[event_id]
        try:
            authorize(event, room)
        except EventRejected:
            continue
        state[event.type, event.state_key or ""] = event.event_id


def keys_needed_by(event: Event) -> list[StateKey]:
    """Return which state the rules look at to judge an event."""
    return auth_event_keys(event.type, event.sender, event.state_key, event.content, event.version)


def _load(
    events: Sequence[Event],
    needed: Mapping[EventId, Sequence[StateKey]],
    state: StateIds,
    base: StateIds,
    source: EventSource,
) -> dict[EventId, Event]:
    """Load at once all that the checks of some events can come to look at."""
    event_ids = {auth_id for event in events for auth_id in event.auth_events}
    for key in {key for keys in needed.values() for key in keys}:
        event_ids.update(state_set[key] for state_set in (state, base) if key in state_set)
    event_ids.update(create_id for event in events if (create_id := create_event_id(event)))
    known = {event.event_id: event for event in events}
    known.update(source.events(event_ids - known.keys()))
    return known


def _named_by(event: Event, known: Mapping[EventId, Event], source: EventSource) -> dict[StateKey, Event]:
    """Return what an event itself names as its foundation, for keys that the state does not have.

    "the appropriate state event from the event's `auth_events` is used if the auth event is not rejected": these are
    not judged again, so one that was rejected must not count.
    """
    room = {}
    for auth_id in event.auth_events:
        auth_event = known.get(auth_id)
        if auth_event is not None and not source.is_rejected(auth_id):
            room[auth_event.type, auth_event.state_key or ""] = auth_event
    create_id = create_event_id(event)
    if create_id is not None and create_id in known:
        room[CREATE] = known[create_id]
    return room
