"""Events of another server find their place: in line, on forks, refused, redacted, and after what came first."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.homeserver.rooms.foreign import YAN, ZOE, Foreign
from tests.homeserver.rooms.house import ALICE, BOB, House, opened_house
from tricord.homeserver.rooms.placement import Arrival, Outcome, Placement, Verdict
from tricord.homeserver.rooms.resolution import StateResolver
from tricord.protocol.events import Event, VerifiedEvent
from tricord.protocol.identifiers import RoomId
from tricord.protocol.room_versions import ROOM_VERSIONS

ACCEPTED = Outcome(Verdict.ACCEPTED)


def placement_of(house: House) -> Placement:
    return Placement(house.database, house.log, house.rooms, house.nodes, StateResolver(house.database, house.nodes))


async def place(house: House, room_id: RoomId, *events: VerifiedEvent) -> list[Outcome]:
    outcomes = await placement_of(house).place(room_id, [Arrival(event) for event in events])
    return [outcomes[event.event_id] for event in events]


def verdicts(outcomes: Sequence[Outcome]) -> list[Verdict]:
    return [outcome.verdict for outcome in outcomes]


@pytest.mark.parametrize("version", ROOM_VERSIONS)
async def test_what_another_server_says_is_part_of_the_room(house: House, version: str) -> None:
    room_id = await house.create(version=version)
    foreign = Foreign(house, room_id)
    join = await foreign.joins(ZOE)
    hello = await foreign.says(ZOE, "hello", after=[join], state={("m.room.member", ZOE): join})
    assert await place(house, room_id, join, hello) == [ACCEPTED, ACCEPTED]
    assert ZOE in await house.memberships.joined_members(room_id)
    await house.say(room_id, "welcome")
    assert await house.bodies(room_id) == ["hello", "welcome"]
    newest = await house.timeline.event(hello.event_id)
    assert newest is not None
    assert newest.event.json == hello.json


async def test_an_event_that_comes_twice_is_there_once(house: House) -> None:
    room_id = await house.create()
    join = await Foreign(house, room_id).joins(ZOE)
    assert await place(house, room_id, join) == [ACCEPTED]
    assert await place(house, room_id, join, join) == [ACCEPTED, ACCEPTED]
    counts = await house.memberships.counts([room_id])
    assert counts[room_id].joined == 2


@pytest.mark.parametrize("version", ["1", "2", "10", "12"])
async def test_forks_come_together_in_one_state(house: House, version: str) -> None:
    room_id = await house.create(version=version)
    foreign = Foreign(house, room_id)
    join = await foreign.joins(ZOE)
    await place(house, room_id, join)
    fork = await foreign.latest()
    here = await house.set(room_id, "m.room.topic", "", {"topic": "ours"})
    await house.say(room_id, "meanwhile")
    renamed = await foreign.event(
        ZOE, "m.room.member", {"membership": "join", "displayname": "Zoe"}, state_key=ZOE, after=fork
    )
    there = await foreign.says(ZOE, "in the fork", after=[renamed], state={("m.room.member", ZOE): renamed})
    assert await place(house, room_id, renamed, there) == [ACCEPTED, ACCEPTED]
    state = await house.state.current(room_id, [("m.room.topic", ""), ("m.room.member", ZOE)])
    assert state["m.room.topic", ""].event.event_id == here.event.event_id
    assert state["m.room.member", ZOE].event.event_id == renamed.event_id
    # The next event joins the ends of both.
    said = await house.say(room_id, "together again")
    assert len(said.event.prev_events) == 2
    state_there = await house.state.all_at(said)
    assert {stored.event.event_id for stored in state_there.values()} >= {here.event.event_id, renamed.event_id}
    assert len(await foreign.latest()) == 1


@pytest.mark.parametrize("version", ["2", "6", "12"])
async def test_whoever_was_banned_meanwhile_is_not_heard(house: House, version: str) -> None:
    room_id = await house.create(version=version)
    foreign = Foreign(house, room_id)
    join = await foreign.joins(ZOE)
    await place(house, room_id, join)
    before_the_ban = await foreign.latest()
    await house.member(room_id, ZOE, "ban", ALICE)
    late = await foreign.says(ZOE, "I am still here", after=before_the_ban, state={("m.room.member", ZOE): join})
    assert verdicts(await place(house, room_id, late)) == [Verdict.SOFT_FAILED]
    assert await house.bodies(room_id) == []
    said = await house.say(room_id, "quiet")
    assert late.event_id not in said.event.prev_events
    # It stays so, and what follows it is judged by the same state.
    assert verdicts(await place(house, room_id, late)) == [Verdict.SOFT_FAILED]
    later = await foreign.says(ZOE, "really", after=[late], state={("m.room.member", ZOE): join})
    assert verdicts(await place(house, room_id, later)) == [Verdict.SOFT_FAILED]


async def test_what_the_rules_refuse_is_rejected_for_good(house: House) -> None:
    room_id = await house.create(join_rule="invite")
    foreign = Foreign(house, room_id)
    join = await foreign.joins(ZOE)
    after = await foreign.says(ZOE, "hello", after=[join], state={("m.room.member", ZOE): join})
    assert verdicts(await place(house, room_id, join, after)) == [Verdict.REJECTED, Verdict.REJECTED]
    await house.member(room_id, ZOE, "invite", ALICE)
    assert verdicts(await place(house, room_id, join)) == [Verdict.REJECTED]
    assert ZOE not in await house.memberships.joined_members(room_id)
    assert await house.bodies(room_id) == []


async def test_power_that_is_fought_over_goes_to_who_had_it(house: House) -> None:
    room_id = await house.create(version="11")
    foreign = Foreign(house, room_id)
    joins = [await foreign.joins(ZOE)]
    await place(house, room_id, *joins)
    await house.set(room_id, "m.room.power_levels", "", {"users": {ALICE: 100, ZOE: 50}})
    fork = await foreign.latest()
    await house.set(room_id, "m.room.power_levels", "", {"users": {ALICE: 100, ZOE: 0}})
    name = await foreign.event(ZOE, "m.room.name", {"name": "Zoe's"}, state_key="", after=fork)
    fork_levels = {("m.room.power_levels", ""): fork[0]}
    name = await foreign.event(ZOE, "m.room.name", {"name": "Zoe's"}, state_key="", after=fork, state=fork_levels)
    assert verdicts(await place(house, room_id, name)) == [Verdict.SOFT_FAILED]
    assert ("m.room.name", "") not in await house.state.current(room_id, [("m.room.name", "")])


async def test_redactions_take_effect_whichever_comes_first(house: House) -> None:
    room_id = await house.create()
    foreign = Foreign(house, room_id)
    join = await foreign.joins(ZOE)
    here: dict[tuple[str, str], Event] = {("m.room.member", ZOE): join}
    one = await foreign.says(ZOE, "one", after=[join], state=here)
    two = await foreign.says(ZOE, "two", after=[one], state=here)
    redacts_one = await foreign.event(ZOE, "m.room.redaction", {}, after=[two], state=here, redacts=one.event_id)
    await place(house, room_id, join, one, two, redacts_one)
    assert await house.bodies(room_id) == ["", "two"]
    # A redaction of what comes only afterwards.
    three = await foreign.says(ZOE, "three", after=[join], state=here)
    redacts_three = await foreign.event(
        ZOE, "m.room.redaction", {}, after=[redacts_one], state=here, redacts=three.event_id
    )
    assert await place(house, room_id, redacts_three) == [ACCEPTED]
    assert await place(house, room_id, three) == [ACCEPTED]
    stored = await house.timeline.event(three.event_id)
    assert stored is not None
    assert (stored.event.content, stored.redacted_because) == ({}, redacts_three.event_id)


async def test_local_and_foreign_events_are_written_side_by_side(house: House) -> None:
    import trio

    room_id = await house.create()
    foreign = Foreign(house, room_id)
    join = await foreign.joins(ZOE)
    await place(house, room_id, join)
    await house.member(room_id, BOB, "join")
    here = {("m.room.member", ZOE): join}

    async def from_elsewhere() -> None:
        last: VerifiedEvent = join
        for number in range(20):
            last = await foreign.says(ZOE, f"there {number}", after=[last], state=here)
            assert await place(house, room_id, last) == [ACCEPTED]

    async def from_here() -> None:
        for number in range(40):
            await house.say(room_id, f"here {number}", BOB)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(from_elsewhere)
        nursery.start_soon(from_here)
    said = await house.bodies(room_id)
    assert sorted(said) == sorted([f"there {n}" for n in range(20)] + [f"here {n}" for n in range(40)])
    assert [body for body in said if body.startswith("there")] == [f"there {n}" for n in range(20)]


async def test_two_processes_place_the_same_events(database_url: str) -> None:
    import trio

    async with opened_house(database_url) as one, opened_house(database_url) as other:
        room_id = await one.create()
        foreign = Foreign(one, room_id)
        join, second = await foreign.joins(ZOE), await foreign.joins(YAN)
        async with trio.open_nursery() as nursery:
            for house in (one, other):
                nursery.start_soon(place, house, room_id, join, second)
        assert (await one.memberships.counts([room_id]))[room_id].joined == 3
        events = (await one.timeline.recent(room_id, after=0, upto=one.publisher.position, limit=100)).events
        assert [stored.event.event_id for stored in events].count(join.event_id) == 1
