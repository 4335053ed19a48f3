from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.protocol.oracle.histories import ALICE, History
from tests.protocol.oracle.state_resolution import Oracle
from tests.protocol.rooms import bare_event
from tests.protocol.test_against_the_oracle import history_of
from tricord.protocol.errors import ResolutionTooLarge
from tricord.protocol.events import Event
from tricord.protocol.identifiers import EventId
from tricord.protocol.numbered_rules import CREATE, POWER_LEVELS, StateKey
from tricord.protocol.power_levels import INFINITE, PowerLevels
from tricord.protocol.room_versions import V10, V12, room_version
from tricord.protocol.state_resolution import EventsInMemory, StateIds, Steps, resolve
from tricord.protocol.state_resolution.walked_chains import WalkedAuthChains

seeds = st.integers(0, 2**32).map(history_of)
State = dict[StateKey, EventId]


def events_of(history: History) -> dict[EventId, Event]:
    version = room_version(str(history.version))
    return {EventId(event_id): bare_event(version, **pdu) for event_id, pdu in history.events.items()}


def source_of(history: History) -> EventsInMemory:
    return EventsInMemory(events_of(history), {EventId(event_id) for event_id in history.rejected})


def merges_of(history: History) -> list[list[StateIds]]:
    return [list(merge.states) for merge in history.merges]  # type: ignore[arg-type]  # plain strings


# Properties


@settings(max_examples=60, deadline=None)
@given(seeds, st.randoms(use_true_random=False))
def test_the_order_of_the_states_does_not_count(history: History, random: Random) -> None:
    version, source = room_version(str(history.version)), source_of(history)
    for states in merges_of(history):
        shuffled = [dict(random.sample([*state.items()], len(state))) for state in states]
        random.shuffle(shuffled)
        assert resolve(version, shuffled, source, source) == resolve(version, states, source, source)


@settings(max_examples=60, deadline=None)
@given(seeds)
def test_states_that_are_the_same_stay_as_they_are(history: History) -> None:
    version, source = room_version(str(history.version)), source_of(history)
    for states in merges_of(history):
        resolved = resolve(version, states, source, source)
        for state in (resolved, *states):
            assert resolve(version, [state], source, source) == state
            assert resolve(version, [state, state, state], source, source) == state
        assert resolve(version, [*states, *states], source, source) == resolved


@settings(max_examples=60, deadline=None)
@given(seeds, st.randoms(use_true_random=False))
def test_events_lead_to_the_same_state_in_whatever_order_they_are_delivered(history: History, random: Random) -> None:
    events = events_of(history)
    assert delivered(events, random) == delivered(events, random)


def delivered(events: Mapping[EventId, Event], random: Random) -> State:
    """Deliver events in some order in which each finds those that it names; return the state at the end."""
    known: dict[EventId, Event] = {}
    after: dict[EventId, State] = {}
    waiting = {event_id: {*event.prev_events, *event.auth_events} for event_id, event in events.items()}
    while waiting:
        event_id = random.choice([event_id for event_id, named in waiting.items() if named <= after.keys()])
        event = known[event_id] = events[event_id]
        version, source = event.version, EventsInMemory(known)
        before = [after[previous] for previous in random.sample(event.prev_events, len(event.prev_events))]
        state = resolve(version, before, source, source) if before else {}
        own = {} if event.state_key is None else {(event.type, event.state_key): event_id}
        after[event_id] = {**state, **own}
        del waiting[event_id]
    ends = after.keys() - {previous for event in events.values() for previous in event.prev_events}
    states = random.sample([after[end] for end in sorted(ends)], len(ends))
    source = EventsInMemory(events)
    return resolve(version, states, source, source)


@settings(max_examples=60, deadline=None)
@given(seeds.filter(lambda history: history.version == 12))
def test_no_resolution_takes_the_power_of_a_creator(history: History) -> None:
    events, source = events_of(history), source_of(history)
    for states in merges_of(history):
        resolved = resolve(V12, states, source, source)
        power_levels = events[resolved[POWER_LEVELS]] if POWER_LEVELS in resolved else None
        power = PowerLevels(events[resolved[CREATE]], power_levels)
        assert ALICE in power.creators
        assert {power.of_user(creator) for creator in power.creators} == {INFINITE}


# Steps


@pytest.mark.parametrize("seed", range(40))
def test_a_resolution_ends_with_its_steps(seed: int) -> None:
    history = history_of(seed)
    version = room_version(str(history.version))
    for states in merges_of(history):
        steps = Steps()
        source = EventsInMemory(events_of(history), steps=steps)
        resolved = resolve(version, states, source, source, steps)
        taken = steps.taken
        if taken:
            enough = Steps(taken)
            source = EventsInMemory(events_of(history), steps=enough)
            assert resolve(version, states, source, source, enough) == resolved
            too_few = Steps(taken - 1)
            source = EventsInMemory(events_of(history), steps=too_few)
            with pytest.raises(ResolutionTooLarge, match=f"more than {taken - 1} steps"):
                resolve(version, states, source, source, too_few)


# Auth chains


class Index:
    """An index that knows all auth chains by heart, as the text defines them."""

    def __init__(self, history: History) -> None:
        self._oracle = Oracle(history.events, history.version)
        self.asked = 0

    def difference(self, shared: Collection[EventId], forks: Sequence[Collection[EventId]]) -> set[EventId]:
        self.asked += 1
        chains = [self._chain([*shared, *fork]) | {*shared, *fork} for fork in forks]
        return set().union(*chains) - chains[0].intersection(*chains)

    def between(self, event_ids: Collection[EventId]) -> set[EventId]:
        self.asked += 1
        found: set[EventId] = set()
        for start in event_ids:
            for end in self._chain([start]) & set(event_ids):
                found |= {start, end} | {middle for middle in self._chain([start]) if end in self._chain([middle])}
        return found

    def _chain(self, event_ids: Collection[EventId]) -> set[EventId]:
        return {EventId(found) for event_id in event_ids for found in self._oracle.auth_chain(event_id)}


@settings(max_examples=60, deadline=None)
@given(seeds.filter(lambda history: history.version > 1))
def test_an_index_answers_in_place_of_walks(history: History) -> None:
    version, source = room_version(str(history.version)), source_of(history)
    for states in merges_of(history):
        index = Index(history)
        assert resolve(version, states, source, index) == resolve(version, states, source, source)
        assert index.asked <= 2


@settings(max_examples=60, deadline=None)
@given(seeds.filter(lambda history: history.version > 1), st.data())
def test_walked_chains_are_those_of_the_oracle(history: History, data: st.DataObject) -> None:
    events = events_of(history)
    some = st.lists(st.sampled_from(sorted(events)), max_size=6)
    shared, forks, conflicted = data.draw(some), data.draw(st.lists(some, min_size=1, max_size=3)), data.draw(some)
    index, walked = Index(history), EventsInMemory(events)
    own = {event_id for fork in forks for event_id in fork}
    assert walked.difference(shared, forks) - own == index.difference(shared, forks) - own
    assert walked.between(conflicted) == index.between(conflicted)


def test_a_walk_asks_for_each_event_once_and_for_many_at_a_time() -> None:
    # A thousand members on top of one join rule on top of a create event.
    members = [EventId(f"$member{number}") for number in range(1000)]
    edges = {member: (EventId("$rule"),) for member in members} | {EventId("$rule"): (EventId("$create"),)}
    asked: list[Collection[EventId]] = []

    def look_up(event_ids: Collection[EventId]) -> Mapping[EventId, Sequence[EventId]]:
        asked.append(event_ids)
        return {event_id: edges.get(event_id, ()) for event_id in event_ids}

    chains = WalkedAuthChains(look_up)
    assert chains.difference(members[500:], [members[:1], members[1:2]]) == set()
    assert sum(map(len, asked)) <= 6
    asked.clear()
    assert chains.difference(members[500:], [members[:1], []]) == set()
    assert len(asked) <= 6
    assert chains.between(members) == set()


def test_events_are_asked_for_many_at_a_time() -> None:
    calls: list[Collection[EventId]] = []

    class Counting(EventsInMemory):
        def events(self, event_ids: Collection[EventId]) -> Mapping[EventId, Event]:
            calls.append(event_ids)
            return super().events(event_ids)

    history = next(history for history in map(history_of, range(1000)) if len(history.events) > 50)
    source = Counting(events_of(history))
    version = room_version(str(history.version))
    for states in merges_of(history):
        calls.clear()
        resolve(version, states, source, Index(history))
        # The chain of power levels is walked link by link; all else comes at once.
        assert len(calls) < 60


# What the text says of single things


def state_of(*events: Event) -> StateIds:
    return {(event.type, event.state_key or ""): event.event_id for event in events}


def simple(make: Callable[..., Event] = bare_event, **more: object) -> Callable[..., Event]:
    def event(
        event_id: str, event_type: str, content: dict[str, object], auth: Sequence[Event], **other: object
    ) -> Event:
        pdu = {
            "event_id": event_id,
            "room_id": "!room:a.test",
            "sender": ALICE,
            "type": event_type,
            "state_key": "",
            "content": content,
            "origin_server_ts": 1,
            "prev_events": ["$before"],
            "auth_events": [auth_event.event_id for auth_event in auth],
        }
        return make(V10, **{**pdu, **more, **other})

    return event


def test_what_was_rejected_vouches_for_nothing() -> None:
    event = simple()
    create = event("$create", "m.room.create", {"creator": ALICE}, [])
    join = event("$join", "m.room.member", {"membership": "join"}, [create], state_key=ALICE)
    topics = [event(f"$topic{number}", "m.room.topic", {}, [create, join]) for number in (1, 2)]
    events = {one.event_id: one for one in (create, join, *topics)}
    # The states agree on nothing but the create event, so that the join is known from the topics alone.
    states = [state_of(create, topic) for topic in topics]
    accepted, rejected = EventsInMemory(events), EventsInMemory(events, rejected={join.event_id})
    assert ("m.room.topic", "") in resolve(V10, states, accepted, accepted)
    assert ("m.room.topic", "") not in resolve(V10, states, rejected, rejected)


def test_events_that_cannot_be_had_are_left_out() -> None:
    event = simple()
    create = event("$create", "m.room.create", {"creator": ALICE}, [])
    join = event("$join", "m.room.member", {"membership": "join"}, [create], state_key=ALICE)
    lost, kept = (event(f"${name}", "m.room.topic", {}, [create, join]) for name in ("lost", "kept"))
    source = EventsInMemory({one.event_id: one for one in (create, join, kept)})
    states = [state_of(create, join, topic) for topic in (lost, kept)]
    assert resolve(V10, states, source, source) == states[1]
