"""The random rooms of the oracle are worth comparing: they are forked, fought over, and break every rule there is."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from tests.protocol.oracle.histories import MOST_EVENTS, History
from tests.protocol.oracle.state_resolution import StateMap
from tests.protocol.rooms import bare_event
from tests.protocol.test_against_the_oracle import history_of
from tricord.protocol.authorization import authorize, check_auth_events
from tricord.protocol.events import Event
from tricord.protocol.identifiers import EventId
from tricord.protocol.numbered_rules import RuleBroken
from tricord.protocol.room_versions import room_version
from tricord.protocol.state_resolution.conflicts import disputed

_ROOMS = 300

# Rules of a version that even a thousand of these rooms break rarely or never; tests of their own break them.
_RARE = {
    1: {"1.2", "1.3", "1.4", "5.3.5", "10.3.1", "10.3.2", "10.4.1", "10.5.1", "5.3.1.8", "5.4.3", "11.3", "7.1"},
    12: {"1.2", "1.3", "1.4", "5.2.1", "5.4.1.8", "5.4.5", "5.5.3", "7.1", "10.6.1", "10.6.2", "10.7.1", "10.8.1"}
    | {"10.9.1", "10.10.1", "2", "3.5"},
}
_RULES = {
    1: {
        *("1.1", "1.2", "1.3", "1.4", "2.1", "2.2", "2.3", "2.4", "3", "4.1", "4.2", "5.1", "5.2.2", "5.2.3", "5.2.6"),
        *("5.3.1.1", "5.3.1.2", "5.3.1.3", "5.3.1.4", "5.3.1.5", "5.3.1.6", "5.3.1.8", "5.3.2", "5.3.3", "5.3.5"),
        *("5.4.1", "5.4.2", "5.4.3", "5.4.5", "5.5.1", "5.5.3", "5.6", "6", "7.1", "8", "9"),
        *("10.1", "10.3.1", "10.3.2", "10.4.1", "10.5.1", "10.6.1", "10.7.1", "11.3"),
    },
    12: {
        *("1.1", "1.2", "1.3", "1.4", "2", "3.1", "3.2", "3.3", "3.5", "4", "5.1", "5.2.1", "5.3.2", "5.3.3"),
        *("5.3.5.2", "5.3.7", "5.4.1.1", "5.4.1.2", "5.4.1.3", "5.4.1.4", "5.4.1.5", "5.4.1.6", "5.4.1.8", "5.4.2"),
        *("5.4.3", "5.4.5", "5.5.1", "5.5.2", "5.5.3", "5.5.5", "5.6.1", "5.6.3", "5.7.1", "5.7.2", "5.7.4", "5.8"),
        *("6", "7.1", "8", "9", "10.1", "10.2", "10.3", "10.4", "10.6.1", "10.6.2", "10.7.1", "10.8.1", "10.9.1"),
        "10.10.1",
    },
}


def test_histories_are_forked_and_fought_over() -> None:
    histories = [history_of(seed) for seed in range(_ROOMS)]
    merges = [(history, merge) for history in histories for merge in history.merges]
    assert {history.version for history in histories} == {1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12}
    assert all(len(history.events) <= MOST_EVENTS for history in histories)
    assert len(merges) > 5 * _ROOMS
    conflicted = [len(disputed(merge.states).event_ids) for _, merge in merges]  # type: ignore[arg-type]  # plain strings
    assert sum(count >= 2 for count in conflicted) > len(merges) / 2
    assert sum(count >= 8 for count in conflicted) > len(merges) / 10
    # Whoever only took the latest of each would be wrong that often.
    assert sum(merge.resolved != _latest(history, merge.states) for history, merge in merges) > len(merges) / 5
    assert sum(map(len, (history.rejected for history in histories))) > _ROOMS / 4


def test_histories_break_every_rule() -> None:
    broken: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for seed in range(2 * _ROOMS):
        history = history_of(seed)
        broken[history.version].update(_broken_rules(history))
    for version, rules in _RULES.items():
        assert rules - _RARE[version] <= broken[version].keys() <= rules


def _latest(history: History, states: Sequence[StateMap]) -> dict[tuple[str, str], str]:
    latest: dict[tuple[str, str], str] = {}
    for state in states:
        for key, event_id in state.items():
            now, then = history.events[event_id], history.events.get(latest.get(key, ""))
            if then is None or now["origin_server_ts"] > then["origin_server_ts"]:
                latest[key] = event_id
    return latest


def _broken_rules(history: History) -> list[str]:
    version = room_version(str(history.version))
    events: dict[EventId, Event] = {}
    rules = []
    for attempt in history.attempts:
        event = bare_event(version, **attempt.event)
        try:
            check_auth_events(event, [events[auth_event] for auth_event in event.auth_events], history.rejected)  # type: ignore[arg-type]
        except RuleBroken as broken:
            rules.append(broken.rule)
        try:
            authorize(event, {key: events[EventId(event_id)] for key, event_id in attempt.state.items()})
        except RuleBroken as broken:
            rules.append(broken.rule)
        if event.event_id in history.events:
            events[event.event_id] = event
    return rules
