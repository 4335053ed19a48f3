"""The library and the oracle agree on thousands of random rooms.

`TRICORD_ORACLE_EXAMPLES` sets how many; it is 5,000 in every ordinary run. A failure names the seed of its room, and
`TRICORD_ORACLE_SEED=4711` lets just that room live again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from random import Random

import pytest

from tests.protocol.oracle.auth_rules import selected_auth_events
from tests.protocol.oracle.histories import Attempt, History
from tests.protocol.rooms import bare_event
from tricord.protocol.authorization import auth_event_keys, authorize, check_auth_events
from tricord.protocol.errors import EventRejected
from tricord.protocol.events import Event
from tricord.protocol.identifiers import EventId
from tricord.protocol.room_versions import RoomVersion, room_version
from tricord.protocol.state_resolution import EventsInMemory, StateIds, resolve

_GROUPS = 20
_EXAMPLES = int(os.environ.get("TRICORD_ORACLE_EXAMPLES", "5000"))
_ONE_SEED = os.environ.get("TRICORD_ORACLE_SEED")
# The versions whose rules or state resolution differ from their neighbours', the newest most often.
_VERSIONS = (1, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 11, 12, 12, 12, 12)

State = dict[tuple[str, str], Event]


def seeds_of(group: int) -> Iterable[int]:
    if _ONE_SEED is not None:
        return [int(_ONE_SEED)] if group == 0 else []
    return range(group * _EXAMPLES // _GROUPS, (group + 1) * _EXAMPLES // _GROUPS)


@pytest.mark.parametrize("group", range(_GROUPS))
def test_library_and_oracle_agree(group: int) -> None:
    for seed in seeds_of(group):
        history = history_of(seed)
        try:
            _compare(history)
        except Exception as error:
            error.add_note(f"TRICORD_ORACLE_SEED={seed}, room version {history.version}")
            raise


def history_of(seed: int) -> History:
    """Return the room that a seed stands for."""
    random = Random(seed)
    history = History(random, random.choice(_VERSIONS))
    history.grow()
    return history


def _compare(history: History) -> None:
    version = room_version(str(history.version))
    events: dict[EventId, Event] = {}
    for attempt in history.attempts:
        event = bare_event(version, **attempt.event)
        _compare_attempt(event, attempt, events, history)
        if event.event_id in history.events:
            events[event.event_id] = event
    source = EventsInMemory(events, history.rejected)  # type: ignore[arg-type]  # the oracle's ids are plain strings
    for number, merge in enumerate(history.merges):
        states: list[StateIds] = list(merge.states)  # type: ignore[arg-type]
        assert resolve(version, states, source, source) == merge.resolved, f"merge {number}"


def _compare_attempt(event: Event, attempt: Attempt, events: dict[EventId, Event], history: History) -> None:
    state = {key: events[EventId(event_id)] for key, event_id in attempt.state.items()}
    before = {key: history.events[event_id] for key, event_id in attempt.state.items()}
    assert _selected(event, state, event.version) == set(
        selected_auth_events(attempt.event, before, history.version)
    ), f"{event.event_id} selects"
    assert _is_allowed(authorize, event, state) == attempt.allowed, f"{event.event_id} is judged"
    named = [events[auth_event] for auth_event in event.auth_events]
    rejected = {EventId(event_id) for event_id in history.rejected}
    assert _is_allowed(check_auth_events, event, named, rejected) == attempt.right_auth_events, (
        f"{event.event_id} names"
    )


def _selected(event: Event, state: State, version: RoomVersion) -> set[EventId]:
    keys = auth_event_keys(event.type, event.sender, event.state_key, event.content, version)
    return {state[key].event_id for key in keys if key in state}


def _is_allowed(check: Callable[..., None], *arguments: object) -> bool:
    try:
        check(*arguments)
    except EventRejected:
        return False
    return True
