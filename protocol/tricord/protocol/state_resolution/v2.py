"""State resolution of room version 2 and later, and its revision 2.1 of version 12.

https://spec.matrix.org/v1.19/rooms/v2/#state-resolution
https://spec.matrix.org/v1.19/rooms/v12/#state-resolution
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tricord.protocol.events import Event
from tricord.protocol.identifiers import EventId
from tricord.protocol.numbered_rules import POWER_LEVELS, StateKey
from tricord.protocol.state_resolution.auth_checks import apply_in_order
from tricord.protocol.state_resolution.conflicts import Conflict
from tricord.protocol.state_resolution.mainline import mainline_order
from tricord.protocol.state_resolution.power_order import power_order
from tricord.protocol.state_resolution.sources import AuthChains, EventSource, Steps


def resolve_v2(
    conflict: Conflict, source: EventSource, chains: AuthChains, steps: Steps, *, with_subgraph: bool
) -> dict[StateKey, EventId]:
    """Return what the resolved state has besides what the states share.

    `with_subgraph` makes it 2.1: what connects the conflicted events is conflicted too, and since the shared state may
    itself come from a fork that loses, nothing is built on it. The numbers are those of "Algorithm".
    """
    base = {} if with_subgraph else conflict.shared
    conflicted = _full_conflicted_set(conflict, source, chains, steps, with_subgraph=with_subgraph)

    power_events = _with_auth_events(filter(is_power_event, conflicted.values()), conflicted)  # 1
    resolved: dict[StateKey, EventId] = {}
    apply_in_order(power_order(power_events, source, steps), resolved, base, source, steps)  # 2

    remaining = [event for event_id, event in conflicted.items() if event_id not in power_events]  # 3
    power_levels = resolved.get(POWER_LEVELS) or base.get(POWER_LEVELS)
    ordered = mainline_order(remaining, power_levels, source, steps)
    apply_in_order(ordered, resolved, base, source, steps)  # 4
    return {key: event_id for key, event_id in resolved.items() if key not in conflict.shared}  # 5


def is_power_event(event: Event) -> bool:
    """Return whether an event may take away somebody's ability to do something in the room."""
    match event.type:
        case "m.room.power_levels" | "m.room.join_rules":
            return event.is_state
        case "m.room.member":
            return event.content.get("membership") in ("leave", "ban") and event.sender != event.state_key
        case _:
            return False


def _full_conflicted_set(
    conflict: Conflict, source: EventSource, chains: AuthChains, steps: Steps, *, with_subgraph: bool
) -> Mapping[EventId, Event]:
    event_ids = conflict.event_ids
    difference = chains.difference(conflict.shared.values(), [set(fork.values()) for fork in conflict.forks])
    subgraph = chains.between(event_ids) if with_subgraph else set()
    full = event_ids | difference | subgraph
    steps.take(len(full))
    # Only what was refused names messages among its `auth_events`; whoever holds that for state shall not hold these.
    return {event_id: event for event_id, event in source.events(full).items() if event.is_state}


def _with_auth_events(events: Iterable[Event], among: Mapping[EventId, Event]) -> dict[EventId, Event]:
    """Return events together with what they stand on, as far as it is in conflict."""
    found: dict[EventId, Event] = {}
    waiting = list(events)
    while waiting:
        event = waiting.pop()
        if event.event_id not in found:
            found[event.event_id] = event
            waiting += (among[event_id] for event_id in event.auth_events if event_id in among)
    return found
