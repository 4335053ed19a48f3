"""State resolution against the fixtures of ruma; see `origin.md` next to them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.protocol.rooms import bare_event
from tricord.protocol.events import Event
from tricord.protocol.identifiers import EventId
from tricord.protocol.numbered_rules import StateKey
from tricord.protocol.room_versions import RoomVersion, room_version
from tricord.protocol.state_resolution import EventsInMemory, resolve

_VECTORS = Path(__file__).parents[1] / "vectors/state_resolution"
_CASES = json.loads((_VECTORS / "cases.json").read_text())["cases"]
_WITH_MAPS = [case for case in _CASES if case["state_maps"]]
_WITH_HISTORY = [case for case in _CASES if not case["state_maps"]]

State = dict[StateKey, EventId]


@pytest.mark.parametrize("case", _WITH_MAPS, ids=lambda case: case["name"])
def test_given_states_resolve_as_expected(case: dict[str, Any]) -> None:
    version, events = _events_of(case)
    states = [_state([events[event_id] for event_id in _read(name)]) for name in case["state_maps"]]
    assert resolve(version, states, EventsInMemory(events), EventsInMemory(events)) == _expected(case)


@pytest.mark.parametrize("case", _WITH_HISTORY, ids=lambda case: case["name"])
def test_a_forked_history_resolves_as_expected(case: dict[str, Any]) -> None:
    version, events = _events_of(case)
    source = EventsInMemory(events)
    after: dict[EventId, State] = {}
    for event in events.values():
        before = [after[event_id] for event_id in event.prev_events] or [{}]
        state = before[0] if len(before) == 1 else resolve(version, before, source, source)
        after[event.event_id] = {**state, **_state([event])}
    ends = events.keys() - {event_id for event in events.values() for event_id in event.prev_events}
    assert resolve(version, [after[event_id] for event_id in ends], source, source) == _expected(case)


@pytest.mark.parametrize("case", _WITH_HISTORY, ids=lambda case: case["name"])
def test_every_event_as_a_state_of_its_own_resolves_as_expected(case: dict[str, Any]) -> None:
    version, events = _events_of(case)
    states = [_state([event]) for event in events.values()]
    assert resolve(version, states, EventsInMemory(events), EventsInMemory(events)) == _expected(case)


def _events_of(case: dict[str, Any]) -> tuple[RoomVersion, dict[EventId, Event]]:
    version = room_version(case["room_version"])
    pdus = [pdu for name in case["pdu_batches"] for pdu in _read(name)]
    return version, {pdu["event_id"]: bare_event(version, **pdu) for pdu in pdus}


def _expected(case: dict[str, Any]) -> State:
    events = json.loads((_VECTORS / case["expected"]).read_text())
    return {(event["type"], event["state_key"]): event["event_id"] for event in events}


def _state(events: Sequence[Event]) -> State:
    return {(event.type, event.state_key or ""): event.event_id for event in events}


def _read(name: str) -> Any:
    return json.loads((_VECTORS / "fixtures" / name).read_text())
