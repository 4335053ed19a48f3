"""Two servers share a room: people join, invite, leave and knock across them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
import trio

from tests.conversations.network import Network
from tests.conversations.towns import Town, heard, members, towns
from tests.postgres import PostgresServer
from tricord.clients import Refused


@pytest.fixture
async def both(postgres: PostgresServer, tmp_path: Path) -> AsyncIterator[list[Town]]:
    async with towns(postgres, tmp_path, Network(), north=["alice"], south=["bob", "carol"]) as found:
        yield found


@pytest.mark.parametrize("version", ["1", "6", "10", "11", "12"])
async def test_somebody_joins_a_public_room_elsewhere(both: list[Town], version: str) -> None:
    north, south = both
    alice, bob = north["alice"], south["bob"]
    room_id = await alice.create_room(preset="public_chat", name="Square", room_version=version)
    await alice.send_text(room_id, "Anybody from the south?")
    await bob.join(room_id, via=[north.name])
    assert await members(bob, room_id) == {alice.user_id, bob.user_id}
    assert await members(alice, room_id) == {alice.user_id, bob.user_id}
    told = (await bob.sync())["rooms"]["join"][room_id]
    names = [event["content"] for event in told["state"]["events"] if event["type"] == "m.room.name"]
    assert names == [{"name": "Square"}]


async def test_people_of_one_town_join_at_once_and_are_all_in(both: list[Town]) -> None:
    north, south = both
    alice, bob, carol = north["alice"], south["bob"], south["carol"]
    room_id = await alice.create_room(preset="public_chat")
    async with trio.open_nursery() as nursery:
        for person in (bob, carol):
            nursery.start_soon(partial(person.join, room_id, via=[north.name]))
    hello = await alice.send_text(room_id, "Hello both")
    for person in (bob, carol):
        await heard(person, room_id, hello)
        assert await members(person, room_id) == {alice.user_id, bob.user_id, carol.user_id}


async def test_an_invitation_crosses_and_is_taken(both: list[Town]) -> None:
    north, south = both
    alice, bob, carol = north["alice"], south["bob"], south["carol"]
    room_id = await alice.create_room(preset="private_chat", name="Cabinet")
    with pytest.raises(Refused):
        await bob.join(room_id, via=[north.name])
    await alice.invite(room_id, bob.user_id)
    shown = (await bob.sync())["rooms"]["invite"][room_id]["invite_state"]["events"]
    assert {"name": "Cabinet"} in [event["content"] for event in shown]
    await bob.join(room_id)
    assert await members(alice, room_id) == {alice.user_id, bob.user_id}
    # Now the south is in the room: it needs nobody else to invite.
    await bob.invite(room_id, carol.user_id)
    await carol.join(room_id)
    assert await members(bob, room_id) == {alice.user_id, bob.user_id, carol.user_id}


async def test_an_invitation_is_turned_down(both: list[Town]) -> None:
    north, south = both
    alice, bob = north["alice"], south["bob"]
    before = (await bob.sync())["next_batch"]
    room_id = await alice.create_room(preset="private_chat", invite=[bob.user_id])
    asked = await bob.sync(since=before)
    assert room_id in asked["rooms"]["invite"]
    await bob.leave(room_id)
    answer = await bob.sync()
    assert room_id not in answer.get("rooms", {}).get("invite", {})
    # Another device of his, which knows of the invitation, hears that it is gone.
    assert room_id in (await bob.sync(since=asked["next_batch"]))["rooms"]["leave"]
    state = await alice.state(room_id, "m.room.member", bob.user_id)
    assert state is not None
    assert state["membership"] == "leave"


async def test_somebody_knocks_elsewhere(both: list[Town]) -> None:
    north, south = both
    alice, bob = north["alice"], south["bob"]
    rule = {"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}}
    room_id = await alice.create_room(preset="private_chat", name="Door", initial_state=[rule])
    await bob.knock(room_id, via=[north.name])
    state = await alice.state(room_id, "m.room.member", bob.user_id)
    assert state is not None
    assert state["membership"] == "knock"
    shown = (await bob.sync())["rooms"]["knock"][room_id]["knock_state"]["events"]
    assert {"name": "Door"} in [event["content"] for event in shown]


async def test_members_of_one_room_may_join_another_across_servers(both: list[Town]) -> None:
    north, south = both
    alice, bob = north["alice"], south["bob"]
    club = await alice.create_room(preset="public_chat")
    rule = {"join_rule": "restricted", "allow": [{"type": "m.room_membership", "room_id": club}]}
    initial = [{"type": "m.room.join_rules", "state_key": "", "content": rule}]
    room_id = await alice.create_room(preset="private_chat", initial_state=initial)
    with pytest.raises(Refused):
        await bob.join(room_id, via=[north.name])
    await bob.join(club, via=[north.name])
    await bob.join(room_id, via=[north.name])
    assert await members(alice, room_id) == {alice.user_id, bob.user_id}


async def test_what_is_said_is_heard_on_both_sides(both: list[Town]) -> None:
    north, south = both
    alice, bob = north["alice"], south["bob"]
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id, via=[north.name])
    hello = await alice.send_text(room_id, "Hello south")
    assert (await heard(bob, room_id, hello))["content"]["body"] == "Hello south"
    answer = await bob.send_text(room_id, "Hello north")
    assert (await heard(alice, room_id, answer))["sender"] == bob.user_id


async def test_history_from_before_the_join_is_fetched_when_somebody_reads_it(both: list[Town]) -> None:
    north, south = both
    alice, bob = north["alice"], south["bob"]
    room_id = await alice.create_room(preset="public_chat")
    said = [await alice.send_text(room_id, f"number {number}") for number in range(30)]
    await bob.join(room_id, via=[north.name])
    read: list[str] = []
    events: list[str] = []
    start = None
    for _ in range(20):
        page = await bob.messages(room_id, start=start, limit=10)
        events += [event["event_id"] for event in page.chunk]
        read += [event["event_id"] for event in page.chunk if event["type"] == "m.room.message"]
        start = page.end
        if start is None:
            break
    assert read == said[::-1]
    assert len(events) == len(set(events))
    first = await alice.messages(room_id, direction="f", limit=1)
    assert events[-1] == first.chunk[0]["event_id"]


async def test_what_was_said_while_a_town_was_away_is_read_in_its_place(both: list[Town]) -> None:
    north, south = both
    alice, bob = north["alice"], south["bob"]
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id, via=[north.name])
    before = await bob.send_text(room_id, "I must go")
    await heard(alice, room_id, before)
    left = await bob.set_state(room_id, "m.room.member", {"membership": "leave"}, bob.user_id)
    await heard(alice, room_id, left)
    meanwhile = [await alice.send_text(room_id, f"alone {number}") for number in range(12)]
    await bob.join(room_id, via=[north.name])
    after = await alice.send_text(room_id, "There you are")
    await heard(bob, room_id, after)
    page = await bob.messages(room_id, limit=100)
    assert [event["event_id"] for event in page.chunk if event["type"] == "m.room.message"] == [
        after,
        *meanwhile[::-1],
        before,
    ]
