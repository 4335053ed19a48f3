"""The library and the oracle agree on thousands of random rooms.

`TRICORD_ORACLE_EXAMPLES` sets how many; it is 5,000 in every ordinary run.
"""

from __future__ import annotations

import os
from random import Random

import pytest

from tests.protocol.oracle.histories import History
from tests.protocol.rooms import bare_event
from tricord.protocol.authorization import auth_event_keys, authorize
from tricord.protocol.errors import EventRejected
from tricord.protocol.events import Event
from tricord.protocol.identifiers import EventId
from tricord.protocol.room_versions import RoomVersion, room_version
from tricord.protocol.state_resolution import EventsInMemory, StateIds, resolve

_GROUPS = 20
_EXAMPLES = int(os.environ.get("TRICORD_ORACLE_EXAMPLES", "5000")) // _GROUPS
_VERSIONS = (2, 3, 6, 7, 8, 9, 10, 11, 11, 12, 12, 12, 12)


@pytest.mark.parametrize("group", range(_GROUPS))
def test_library_and_oracle_agree(group: int) -> None:
    for seed in range(group * _EXAMPLES, (group + 1) * _EXAMPLES):
        random = Random(seed)
        history = History(random, random.choice(_VERSIONS))
        history.grow()
        _compare(history, f"seed {seed}, version {history.version}")


def _compare(history: History, name: str) -> None:
    version = room_version(str(history.version))
    events: dict[EventId, Event] = {}
    for attempt in history.attempts:
        event = bare_event(version, **attempt.event)
        state = {key: events[EventId(event_id)] for key, event_id in attempt.state.items()}
        assert _selected(event, state, version) == set(event.auth_events), f"{name}: {event.event_id} selects"
        assert _is_allowed(event, state) == attempt.allowed, f"{name}: {event.event_id} is judged"
        if attempt.allowed:
            events[event.event_id] = event
    source = EventsInMemory(events)
    for number, merge in enumerate(history.merges):
        states: list[StateIds] = list(merge.states)  # type: ignore[arg-type]  # the oracle's ids are plain strings
        assert resolve(version, states, source, source) == merge.resolved, f"{name}: merge {number}"


def _selected(event: Event, state: dict[tuple[str, str], Event], version: RoomVersion) -> set[EventId]:
    keys = auth_event_keys(event.type, event.sender, event.state_key, event.content, version)
    return {state[key].event_id for key in keys if key in state}


def _is_allowed(event: Event, state: dict[tuple[str, str], Event]) -> bool:
    try:
        authorize(event, state)
    except EventRejected:
        return False
    return True
