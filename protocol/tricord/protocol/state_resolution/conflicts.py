"""Where states agree and where they do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tricord.protocol.identifiers import EventId
from tricord.protocol.numbered_rules import StateKey

StateIds = Mapping[StateKey, EventId]


@dataclass(frozen=True, slots=True)
class Conflict:
    """States that differ: what they share, and what each has besides."""

    shared: StateIds
    forks: Sequence[StateIds]

    @property
    def event_ids(self) -> set[EventId]:
        """All events in conflict, "the conflicted state set"."""
        return {event_id for fork in self.forks for event_id in fork.values()}


def disputed(state_sets: Sequence[StateIds]) -> Conflict:
    """Return the conflict of states, where an event is shared only if it is in all of them.

    https://spec.matrix.org/v1.19/rooms/v2/#definitions
    """
    first, *others = state_sets
    shared = first
    for other in others:
        shared = {key: event_id for key, event_id in shared.items() if other.get(key) == event_id}
    return _split(shared, state_sets)


def differing(state_sets: Sequence[StateIds]) -> Conflict:
    """Return the conflict of states, where an event is shared unless another state has another in its place.

    https://spec.matrix.org/v1.19/rooms/v1/#state-resolution
    """
    union: dict[StateKey, EventId] = {}
    conflicting: set[StateKey] = set()
    for state in state_sets:
        for key, event_id in state.items():
            if union.setdefault(key, event_id) != event_id:
                conflicting.add(key)
    return _split({key: union[key] for key in union.keys() - conflicting}, state_sets)


def _split(shared: StateIds, state_sets: Sequence[StateIds]) -> Conflict:
    forks = [{key: event_id for key, event_id in state.items() if key not in shared} for state in state_sets]
    return Conflict(shared, forks)
