"""Rooms of Tricord and Synapse seen from outside, and replaced by others."""

from __future__ import annotations

from functools import partial

import pytest

from tests.conversations.towns import heard, members
from tests.peers.synapse.observations import becomes, membership
from tests.peers.synapse.towns import Town
from tricord.clients import Client, Refused
from tricord.protocol.identifiers import RoomId

pytestmark = [pytest.mark.peer, pytest.mark.synapse]

SPACE = {"type": "m.space"}


async def names(client: Client, space_id: RoomId) -> list[str | None]:
    return [room.name async for room in client.rooms_of_space(space_id)]


async def test_a_space_of_the_other_server_is_looked_into(near: Town, alice: Client, bob: Client) -> None:
    tea = await alice.create_room(name="Tea", preset="public_chat")
    secret = await alice.create_room(name="Secret", preset="private_chat")
    kitchen = await alice.create_room(name="Kitchen", preset="public_chat", creation_content=SPACE)
    for child in (tea, secret):
        await alice.set_state(kitchen, "m.space.child", {"via": [near.name]}, child)
    house = await bob.create_room(name="House", preset="public_chat", creation_content=SPACE)
    await bob.set_state(house, "m.space.child", {"via": [near.name]}, kitchen)
    assert await names(bob, house) == ["House", "Kitchen", "Tea"]


@pytest.mark.parametrize("sides", ["rooms of Synapse"], indirect=True)
async def test_a_room_of_synapse_is_summed_up(near: Town, alice: Client, bob: Client) -> None:
    tea = await alice.create_room(name="Tea", topic="Leaves", preset="public_chat")
    secret = await alice.create_room(name="Secret", preset="private_chat")
    summary = await bob.room_summary(tea, via=[near.name])
    assert (summary.name, summary.topic, summary.join_rule) == ("Tea", "Leaves", "public")
    with pytest.raises(Refused):
        await bob.room_summary(secret, via=[near.name])


@pytest.mark.parametrize(("old", "new"), [("10", "11"), ("11", "12")])
async def test_people_of_both_move_into_the_room_that_replaces_theirs(
    near: Town, alice: Client, bob: Client, old: str, new: str
) -> None:
    room_id = await alice.create_room(name="Tea", preset="public_chat", room_version=old)
    await bob.join(room_id, via=[near.name])
    await becomes(partial(membership, alice, room_id, bob), "join")
    await bob.set_tag(room_id, "m.favourite", order=0.5)
    replacement = await alice.upgrade(room_id, new)

    async def pointed_to() -> object:
        return (await bob.state(room_id, "m.room.tombstone") or {}).get("replacement_room")

    await becomes(pointed_to, replacement)
    await bob.join(replacement, via=[near.name])
    assert await members(bob, replacement) == {alice.user_id, bob.user_id}
    created = await bob.state(replacement, "m.room.create")
    assert created is not None
    assert (created["room_version"], created["predecessor"]["room_id"]) == (new, room_id)
    said = await alice.send_text(replacement, "Here we are")
    await heard(bob, replacement, said)

    async def tags() -> object:
        return await bob.tags(replacement)

    await becomes(tags, {"m.favourite": {"order": 0.5}})
