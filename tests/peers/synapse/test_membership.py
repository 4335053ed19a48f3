"""People of Tricord and of Synapse come into each other's rooms, and go."""

from __future__ import annotations

import pytest

from tests.conversations.towns import heard, members
from tests.peers.synapse.towns import Town
from tricord.clients import Client

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
