"""People look for rooms in the directory of another town."""

from __future__ import annotations

import pytest

from tests.conversations.towns import Town
from tricord.clients import Refused


async def test_rooms_are_found_by_their_words_their_kind_and_their_network(both: list[Town]) -> None:
    north, south = both
    alice, bob = north["alice"], south["bob"]
    tea = await alice.create_room(name="Green Tea", visibility="public")
    kitchen = await alice.create_room(name="Kitchen", visibility="public", creation_content={"type": "m.space"})
    page = await bob.public_rooms(server=north.name)
    assert {room.room_id: room.room_type for room in page.chunk} == {tea: None, kitchen: "m.space"}
    assert [room.room_id for room in (await bob.public_rooms(server=north.name, search="tea")).chunk] == [tea]
    assert len((await bob.public_rooms(server=north.name, all_networks=True)).chunk) == 2
    assert (await bob.public_rooms(server=north.name, network="irc")).chunk == []
    with pytest.raises(Refused) as refusal:
        await bob.public_rooms(server=north.name, network="irc", all_networks=True)
    assert (refusal.value.status, refusal.value.errcode) == (400, "M_INVALID_PARAM")


async def test_a_directory_elsewhere_is_read_page_by_page(both: list[Town]) -> None:
    north, south = both
    alice, bob = north["alice"], south["bob"]
    rooms = {await alice.create_room(visibility="public") for _ in range(3)}
    first = await bob.public_rooms(server=north.name, limit=2)
    second = await bob.public_rooms(server=north.name, limit=2, since=first.next_batch)
    assert {room.room_id for room in (*first.chunk, *second.chunk)} == rooms
    assert second.next_batch is None


async def test_a_directory_that_cannot_be_reached_is_not_found(both: list[Town]) -> None:
    _, south = both
    with pytest.raises(Refused) as refusal:
        await south["bob"].public_rooms(server="nowhere.test")
    assert (refusal.value.status, refusal.value.errcode) == (404, "M_NOT_FOUND")
