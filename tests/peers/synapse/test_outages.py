"""Tricord and Synapse go on while the other is stopped or cut off, and agree again afterwards."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from tests.conversations.towns import heard, members
from tests.peers.synapse.observations import becomes, everything_said, membership, state_of
from tests.peers.synapse.towns import Town, cut
from tricord.clients import Client
from tricord.protocol.identifiers import EventId, RoomId

pytestmark = [pytest.mark.peer, pytest.mark.synapse]

VERSIONS = ["6", "10", "11", "12"]


async def shared_room(near: Town, alice: Client, *others: Client, version: str = "12") -> RoomId:
    room_id = await alice.create_room(preset="public_chat", room_version=version)
    for other in others:
        await other.join(room_id, via=[near.name])
    everybody = {one.user_id for one in (alice, *others)}
    for one in (alice, *others):
        await becomes(partial(members, one, room_id), everybody)
    return room_id


async def agree(alice: Client, bob: Client, room_id: RoomId) -> bool:
    """Return whether both see the same state."""
    return await state_of(alice, room_id) == await state_of(bob, room_id)


async def levels_of(viewer: Client, room_id: RoomId) -> dict[str, Any]:
    levels = await viewer.state(room_id, "m.room.power_levels")
    assert levels is not None
    return levels


async def talk(alice: Client, bob: Client, room_id: RoomId) -> None:
    """Let each say something that the other hears."""
    for who, other in ((alice, bob), (bob, alice)):
        await heard(other, room_id, await who.send_text(room_id, "There you are"))


async def said_in_any_order(viewer: Client, room_id: RoomId) -> set[EventId]:
    return set(await everything_said(viewer, room_id))


async def test_what_is_said_while_the_other_is_stopped_arrives_later(
    near: Town, far: Town, alice: Client, bob: Client
) -> None:
    room_id = await shared_room(near, alice, bob)
    async with far.stopped():
        said = [await alice.send_text(room_id, f"{number}") for number in range(20)]
    await heard(bob, room_id, said[-1])
    assert await everything_said(bob, room_id) == said
    answer = await bob.send_text(room_id, "I was away")
    await heard(alice, room_id, answer)
    assert await state_of(alice, room_id) == await state_of(bob, room_id)


async def test_what_both_say_while_they_are_cut_off_arrives_later(
    near: Town, far: Town, alice: Client, bob: Client
) -> None:
    room_id = await shared_room(near, alice, bob)
    with cut(near, far):
        said = [await who.send_text(room_id, f"{number}") for number in range(8) for who in (alice, bob)]
    for who in (alice, bob):
        await becomes(partial(said_in_any_order, who, room_id), set(said))


async def test_both_have_one_state_after_a_fork(
    near: Town, far: Town, alice: Client, bob: Client, carol: Client
) -> None:
    rooms = [await shared_room(near, alice, bob, carol, version=version) for version in VERSIONS]
    for room_id in rooms:
        levels = await levels_of(alice, room_id)
        levels["users"] |= {bob.user_id: 50}
        await heard(bob, room_id, await alice.set_state(room_id, "m.room.power_levels", levels))
    late: set[EventId] = set()
    spoken: set[EventId] = set()
    with cut(near, far):
        for room_id in rooms:
            await alice.set_state(room_id, "m.room.topic", {"topic": "Near"})
            await bob.set_state(room_id, "m.room.topic", {"topic": "Far"})
            await alice.set_state(room_id, "m.room.name", {"name": "Near"})
            await bob.set_state(room_id, "m.room.avatar", {"url": "mxc://far/away"})
            await alice.ban(room_id, carol.user_id)
            late.add(await carol.send_text(room_id, "Still here?"))
            spoken |= {await alice.send_text(room_id, "Alone"), await bob.send_text(room_id, "Alone")}
    for room_id in rooms:
        await talk(alice, bob, room_id)
        await becomes(partial(agree, alice, bob, room_id), True)
        assert await membership(bob, room_id, carol) == "ban"
        heard_by_alice = await said_in_any_order(alice, room_id)
        heard_by_bob = await said_in_any_order(bob, room_id)
        assert heard_by_alice & spoken == heard_by_bob & spoken
        assert len(heard_by_alice & spoken) == 2
        assert not heard_by_alice & late


async def test_both_agree_who_has_power_after_a_fork(
    near: Town, far: Town, alice: Client, bob: Client, carol: Client
) -> None:
    rooms = [await shared_room(near, alice, bob, carol, version=version) for version in VERSIONS]
    for room_id in rooms:
        levels = await levels_of(alice, room_id)
        levels["users"] |= {bob.user_id: 90}
        levels["events"] |= {"m.room.power_levels": 90}
        await heard(bob, room_id, await alice.set_state(room_id, "m.room.power_levels", levels))
    with cut(near, far):
        for room_id in rooms:
            levels = await levels_of(alice, room_id)
            without_bob = {who: level for who, level in levels["users"].items() if who != bob.user_id}
            await alice.set_state(room_id, "m.room.power_levels", levels | {"users": without_bob})
            await alice.set_state(room_id, "m.room.join_rules", {"join_rule": "invite"})
            with_carol = levels["users"] | {carol.user_id: 60}
            await bob.set_state(room_id, "m.room.power_levels", levels | {"users": with_carol})
            await carol.set_state(room_id, "m.room.topic", {"topic": "By who has power there"})
            await carol.set_state(room_id, "m.room.member", {"membership": "join", "displayname": "C."}, carol.user_id)
            await bob.set_state(room_id, "m.room.join_rules", {"join_rule": "knock"})
    for room_id in rooms:
        await talk(alice, bob, room_id)
        await becomes(partial(agree, alice, bob, room_id), True)
        assert bob.user_id not in (await levels_of(bob, room_id))["users"]
