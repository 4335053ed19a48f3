"""State resolution: what the state of a room is where its history has forked.

`resolve` is a plain function of the states after the forks. It asks its caller for events, as many at a time as it can
name, and for what an index may know about chains of auth events. It never recurses, and gives up with
ResolutionTooLarge when it has taken its steps.

https://spec.matrix.org/v1.19/server-server-api/#room-state-resolution
"""

from __future__ import annotations

from collections.abc import Sequence

from tricord.protocol.identifiers import EventId
from tricord.protocol.numbered_rules import StateKey
from tricord.protocol.room_versions import RoomVersion, StateResolutionAlgorithm
from tricord.protocol.state_resolution.conflicts import Conflict, StateIds, differing, disputed
from tricord.protocol.state_resolution.memory import EventsInMemory
from tricord.protocol.state_resolution.sources import AuthChains, EventSource, Steps
from tricord.protocol.state_resolution.v1 import resolve_v1
from tricord.protocol.state_resolution.v2 import resolve_v2

__all__ = [
    "AuthChains",
    "Conflict",
    "EventSource",
    "EventsInMemory",
    "StateIds",
    "Steps",
    "resolve",
    "resolve_conflict",
]


def resolve(
    version: RoomVersion,
    state_sets: Sequence[StateIds],
    events: EventSource,
    chains: AuthChains,
    steps: Steps | None = None,
) -> dict[StateKey, EventId]:
    """Return the one state that stands for several, the states after each of an event's `prev_events`.

    All states are of the same room, and there is at least one. The outcome depends neither on their order nor on how
    often one is among them. Raises ResolutionTooLarge when `steps` are used up; hand the same to a walking `chains`.

    https://spec.matrix.org/v1.19/rooms/v12/#state-resolution
    """
    if version.state_resolution is StateResolutionAlgorithm.V1:
        conflict = differing(state_sets)
    else:
        conflict = disputed(state_sets)
    return {**conflict.shared, **resolve_conflict(version, conflict, events, chains, steps)}


def resolve_conflict(
    version: RoomVersion,
    conflict: Conflict,
    events: EventSource,
    chains: AuthChains,
    steps: Steps | None = None,
) -> dict[StateKey, EventId]:
    """Return what the resolved state has besides what the states share; raise ResolutionTooLarge.

    For who knows where states differ without reading all of them; `resolve` finds it by comparing.
    """
    if not any(conflict.forks):
        return {}
    steps = steps or Steps()
    match version.state_resolution:
        case StateResolutionAlgorithm.V1:
            return resolve_v1(conflict, events, steps)
        case StateResolutionAlgorithm.V2:
            return resolve_v2(conflict, events, chains, steps, with_subgraph=False)
        case StateResolutionAlgorithm.V2_1:
            return resolve_v2(conflict, events, chains, steps, with_subgraph=True)
