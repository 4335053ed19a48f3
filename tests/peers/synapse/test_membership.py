"""People of Tricord and of Synapse come into each other's rooms, and go."""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import partial

import pytest
import trio

from tests.conversations.towns import heard, members
from tests.peers.synapse.observations import becomes, membership, settled, state_of, stripped_state
from tests.peers.synapse.towns import Town
from tricord.clients import Client, Refused

pytestmark = [pytest.mark.peer, pytest.mark.synapse]


@pytest.mark.parametrize("version", ["6", "10", "11", "12"])
async def test_somebody_joins_and_both_hear_each_other(near: Town, alice: Client, bob: Client, version: str) -> None:
    room_id = await alice.create_room(preset="public_chat", name="Square", room_version=version)
    await bob.join(room_id, via=[near.name])
    assert await members(bob, room_id) == {alice.user_id, bob.user_id}
    hello = await alice.send_text(room_id, "Hello over there")
    assert (await heard(bob, room_id, hello))["content"]["body"] == "Hello over there"
    answer = await bob.send_text(room_id, "Hello")
    assert (await heard(alice, room_id, answer))["sender"] == bob.user_id
    assert await members(alice, room_id) == {alice.user_id, bob.user_id}


async def test_many_join_at_once_and_leave_at_once(near: Town, far: Town, alice: Client) -> None:
    room_id = await alice.create_room(preset="public_chat")
    async with AsyncExitStack() as stack:
        guests = [await stack.enter_async_context(far.somebody("guest")) for _ in range(5)]
        async with trio.open_nursery() as nursery:
            for guest in guests:
                nursery.start_soon(partial(guest.join, room_id, via=[near.name]))
        everybody = {alice.user_id, *(guest.user_id for guest in guests)}
        for viewer in (alice, *guests):
            await becomes(partial(members, viewer, room_id), everybody)
        async with trio.open_nursery() as nursery:
            for guest in guests:
                nursery.start_soon(guest.leave, room_id)
        await becomes(lambda: members(alice, room_id), {alice.user_id})


async def test_an_invitation_crosses_and_is_taken(alice: Client, bob: Client, carol: Client) -> None:
    room_id = await alice.create_room(preset="private_chat", name="Cabinet")
    await alice.invite(room_id, bob.user_id)
    shown = await stripped_state(bob, room_id, "invite")
    assert {"name": "Cabinet"} in [event["content"] for event in shown]
    await bob.join(room_id)
    await becomes(lambda: members(alice, room_id), {alice.user_id, bob.user_id})
    await bob.invite(room_id, carol.user_id)
    await carol.join(room_id)
    await becomes(lambda: members(alice, room_id), {alice.user_id, bob.user_id, carol.user_id})


async def test_an_invitation_is_turned_down(alice: Client, bob: Client) -> None:
    room_id = await alice.create_room(preset="private_chat", invite=[bob.user_id])
    await stripped_state(bob, room_id, "invite")
    await bob.leave(room_id)
    assert room_id not in (await bob.sync()).get("rooms", {}).get("invite", {})
    await becomes(lambda: membership(alice, room_id, bob), "leave")


async def test_an_invitation_is_taken_back(alice: Client, bob: Client, carol: Client, near: Town) -> None:
    room_id = await alice.create_room(preset="private_chat", invite=[bob.user_id, carol.user_id])
    await carol.join(room_id)
    await alice.kick(room_id, bob.user_id)
    await becomes(lambda: membership(carol, room_id, bob), "leave")
    with pytest.raises(Refused):
        await bob.join(room_id, via=[near.name])


async def test_somebody_leaves_and_comes_again(near: Town, alice: Client, bob: Client) -> None:
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id, via=[near.name])
    await bob.leave(room_id)
    await becomes(lambda: membership(alice, room_id, bob), "leave")
    await bob.join(room_id, via=[near.name])
    await becomes(lambda: membership(alice, room_id, bob), "join")
    again = await alice.send_text(room_id, "Welcome back")
    await heard(bob, room_id, again)


async def test_somebody_is_kicked_and_then_banned(near: Town, alice: Client, bob: Client, carol: Client) -> None:
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id, via=[near.name])
    await carol.join(room_id, via=[near.name])
    await becomes(lambda: membership(alice, room_id, carol), "join")
    await alice.kick(room_id, bob.user_id, reason="Too loud")
    await becomes(lambda: membership(carol, room_id, bob), "leave")
    assert room_id not in (await bob.sync()).get("rooms", {}).get("join", {})
    await bob.join(room_id, via=[near.name])
    await becomes(lambda: membership(alice, room_id, bob), "join")
    await alice.ban(room_id, bob.user_id)
    await becomes(lambda: membership(carol, room_id, bob), "ban")
    with pytest.raises(Refused):
        await bob.join(room_id, via=[near.name])
    await alice.unban(room_id, bob.user_id)
    await becomes(lambda: membership(carol, room_id, bob), "leave")
    await bob.join(room_id, via=[near.name])
    await becomes(lambda: membership(alice, room_id, bob), "join")


async def test_a_guest_who_was_given_power_kicks_the_hosts_people(near: Town, alice: Client, bob: Client) -> None:
    async with near.somebody("dave") as dave:
        room_id = await alice.create_room(preset="public_chat")
        await dave.join(room_id)
        await bob.join(room_id, via=[near.name])
        levels = await alice.state(room_id, "m.room.power_levels")
        assert levels is not None
        levels["users"] = {**levels.get("users", {}), bob.user_id: 50}
        given = await alice.set_state(room_id, "m.room.power_levels", levels)
        await heard(bob, room_id, given)
        await bob.kick(room_id, dave.user_id)
        await becomes(lambda: membership(alice, room_id, dave), "leave")


async def test_somebody_knocks_and_is_let_in(near: Town, alice: Client, bob: Client) -> None:
    rule = {"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}}
    room_id = await alice.create_room(preset="private_chat", name="Door", initial_state=[rule])
    with pytest.raises(Refused):
        await settled(lambda: bob.join(room_id, via=[near.name]))
    await settled(lambda: bob.knock(room_id, via=[near.name], reason="It rains"))
    await becomes(lambda: membership(alice, room_id, bob), "knock")
    shown = await stripped_state(bob, room_id, "knock")
    assert {"name": "Door"} in [event["content"] for event in shown]
    await settled(lambda: alice.invite(room_id, bob.user_id))
    await stripped_state(bob, room_id, "invite")
    await settled(lambda: bob.join(room_id))
    await becomes(lambda: membership(alice, room_id, bob), "join")


@pytest.mark.parametrize("sides", ["rooms of Synapse"], indirect=True)
async def test_a_knock_is_taken_back_which_synapse_does_not_tell_others(near: Town, alice: Client, bob: Client) -> None:
    rule = {"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}}
    room_id = await alice.create_room(preset="private_chat", initial_state=[rule])
    await settled(lambda: bob.knock(room_id, via=[near.name]))
    await settled(lambda: bob.leave(room_id))
    await becomes(lambda: membership(alice, room_id, bob), "leave")


@pytest.mark.parametrize("version", ["8", "12"])
async def test_members_of_one_room_may_join_another(near: Town, alice: Client, bob: Client, version: str) -> None:
    club = await alice.create_room(preset="public_chat", room_version=version)
    rule = {"join_rule": "restricted", "allow": [{"type": "m.room_membership", "room_id": club}]}
    initial = [{"type": "m.room.join_rules", "state_key": "", "content": rule}]
    # Of a room with a name, Synapse tells who joins of no members, not even of whoever lets them in.
    room_id = await alice.create_room(
        preset="private_chat", name="Terrace", initial_state=initial, room_version=version
    )
    with pytest.raises(Refused):
        await bob.join(room_id, via=[near.name])
    await bob.join(club, via=[near.name])
    await becomes(lambda: membership(alice, club, bob), "join")
    await bob.join(room_id, via=[near.name])
    await becomes(lambda: members(alice, room_id), {alice.user_id, bob.user_id})


async def test_people_of_both_are_told_the_same_of_everybody(near: Town, alice: Client, bob: Client) -> None:
    room_id = await alice.create_room(preset="public_chat", topic="Who is who")
    await bob.join(room_id, via=[near.name])
    renamed = await bob.set_state(room_id, "m.room.member", {"membership": "join", "displayname": "B."}, bob.user_id)
    await heard(alice, room_id, renamed)
    assert await state_of(alice, room_id) == await state_of(bob, room_id)
