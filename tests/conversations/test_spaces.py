"""People look at spaces and at the rooms in them, of their own server and of others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.conversations.network import Network
from tests.conversations.towns import Town, towns
from tests.postgres import PostgresServer
from tests.servers import PROCESSES
from tricord.clients import Client, Refused
from tricord.protocol.identifiers import RoomId

SPACE = {"type": "m.space"}


@pytest.fixture
async def both(postgres: PostgresServer, tmp_path: Path, network: Network) -> AsyncIterator[list[Town]]:
    async with towns(postgres, tmp_path, network, north=["alice", "carol"], south=["bob"]) as found:
        yield found


async def space(client: Client, name: str, *children: RoomId, **content: Any) -> RoomId:
    """Make a public space with some rooms in it."""
    space_id = await client.create_room(name=name, preset="public_chat", creation_content=SPACE)
    for child in children:
        await client.set_state(space_id, "m.space.child", {"via": [client.user_id.partition(":")[2]], **content}, child)
    return space_id


async def names(client: Client, space_id: RoomId, **wanted: Any) -> list[str | None]:
    return [room.name async for room in client.rooms_of_space(space_id, **wanted)]


async def refusal_of(client: Client, space_id: RoomId, **wanted: Any) -> tuple[int, str]:
    with pytest.raises(Refused) as refusal:
        await client.hierarchy(space_id, **wanted)
    return refusal.value.status, refusal.value.errcode


async def test_a_space_is_walked_depth_first_and_each_room_shown_once_even_in_loops(both: list[Town]) -> None:
    alice, carol = both[0]["alice"], both[0]["carol"]
    tea = await alice.create_room(name="Tea", preset="public_chat")
    cake = await alice.create_room(name="Cake", preset="public_chat")
    kitchen = await space(alice, "Kitchen", tea, cake)
    house = await space(alice, "House", kitchen, cake)
    await alice.set_state(kitchen, "m.space.child", {"via": ["north.test"]}, house)
    for person in (alice, carol):
        assert await names(person, house) == ["House", "Kitchen", "Tea", "Cake"]
    page = await carol.hierarchy(house)
    assert [child["state_key"] for child in page.rooms[0].children_state] == [kitchen, cake]
    assert page.rooms[0].children_state[0].keys() == {"type", "state_key", "content", "sender", "origin_server_ts"}
    assert page.rooms[2].children_state == []


async def test_the_order_of_children_is_that_of_the_space(both: list[Town]) -> None:
    alice = both[0]["alice"]
    rooms = [await alice.create_room(name=name) for name in "abcde"]
    house = await space(alice, "House")
    orders: list[Any] = ["b", None, " ", "é", "b"]
    for room_id, order in zip(rooms, orders, strict=True):
        await alice.set_state(house, "m.space.child", {"via": ["north.test"], "order": order}, room_id)
    assert await names(alice, house) == ["House", "c", "a", "e", "b", "d"]


async def test_a_walk_goes_on_page_by_page_and_cannot_change_its_course(both: list[Town]) -> None:
    alice, carol = both[0]["alice"], both[0]["carol"]
    rooms = [await alice.create_room(name=str(number)) for number in range(7)]
    house = await space(alice, "House", *rooms)
    shown: list[str | None] = []
    start = None
    while True:
        page = await alice.hierarchy(house, limit=3, start=start)
        assert len(page.rooms) <= 3
        shown += [room.name for room in page.rooms]
        if page.next_batch is None:
            break
        again = await alice.hierarchy(house, limit=3, start=page.next_batch)
        start = page.next_batch
        assert again.rooms
        assert await refusal_of(alice, house, start=start, max_depth=1) == (400, "M_INVALID_PARAM")
        assert await refusal_of(alice, house, start=start, suggested_only=True) == (400, "M_INVALID_PARAM")
        assert await refusal_of(carol, house, start=start) == (400, "M_INVALID_PARAM")
    assert shown == ["House", *map(str, range(7))]
    assert await refusal_of(alice, house, start="nonsense") == (400, "M_INVALID_PARAM")
    assert (await refusal_of(alice, house, limit=0))[0] == 400


async def test_depth_and_suggestions_are_heeded(both: list[Town]) -> None:
    alice = both[0]["alice"]
    tea = await alice.create_room(name="Tea")
    kitchen = await space(alice, "Kitchen", tea)
    house = await space(alice, "House", kitchen)
    garden = await alice.create_room(name="Garden")
    await alice.set_state(house, "m.space.child", {"via": ["north.test"], "suggested": True}, garden)
    assert await names(alice, house, max_depth=0) == ["House"]
    assert await names(alice, house, max_depth=1) == ["House", "Kitchen", "Garden"]
    assert await names(alice, house, suggested_only=True) == ["House", "Garden"]


async def test_rooms_that_one_could_not_join_are_not_shown(both: list[Town]) -> None:
    alice, carol = both[0]["alice"], both[0]["carol"]
    club = await alice.create_room(name="Club", preset="public_chat")
    allow = [{"type": "m.room_membership", "room_id": club}]

    async def with_rule(name: str, rule: str, version: str = "12") -> RoomId:
        content = {"join_rule": rule, "allow": allow}
        state = [{"type": "m.room.join_rules", "state_key": "", "content": content}]
        return await alice.create_room(name=name, initial_state=state, room_version=version)

    readable = [
        {"type": "m.room.history_visibility", "state_key": "", "content": {"history_visibility": "world_readable"}}
    ]
    rooms = [
        await alice.create_room(name="private"),
        await with_rule("restricted", "restricted"),
        await with_rule("knock", "knock"),
        await with_rule("old knock", "knock", "6"),
        await with_rule("knock restricted", "knock_restricted"),
        await alice.create_room(name="readable", initial_state=readable),
        await alice.create_room(name="invited", invite=[carol.user_id]),
        await alice.create_room(name="banned", preset="public_chat"),
    ]
    await alice.ban(rooms[-1], carol.user_id)
    house = await space(alice, "House", *rooms)
    assert await names(carol, house) == ["House", "knock", "knock restricted", "readable", "invited"]
    await carol.join(club)
    assert "restricted" in await names(carol, house)
    shown = {room.name: room for room in (await carol.hierarchy(house)).rooms}
    assert shown["restricted"].allowed_room_ids == [club]
    assert shown["restricted"].room_version == "12"
    for room_id in (rooms[0], rooms[-1], RoomId("!none:north.test")):
        assert await refusal_of(carol, room_id) == (403, "M_FORBIDDEN")


async def test_spaces_and_rooms_of_other_servers_are_asked_for_there(both: list[Town], network: Network) -> None:
    north, south = both
    alice, bob = north["alice"], south["bob"]
    tea = await alice.create_room(name="Tea", preset="public_chat")
    secret = await alice.create_room(name="Secret")
    kitchen = await space(alice, "Kitchen", tea, secret)
    here = await bob.create_room(name="Here")
    house = await space(bob, "House", here)
    await bob.set_state(house, "m.space.child", {"via": ["silent.test", north.name]}, kitchen)
    await bob.set_state(house, "m.space.child", {"via": ["silent.test"]}, RoomId("!gone:silent.test"))
    assert await names(bob, house) == ["House", "Here", "Kitchen", "Tea"]
    asked = [request for request in network.requests if "/hierarchy/" in request[3]]
    for _ in range(3):
        assert await names(bob, house) == ["House", "Here", "Kitchen", "Tea"]
    # Each process remembers it for itself.
    assert len([request for request in network.requests if "/hierarchy/" in request[3]]) <= PROCESSES * len(asked)


async def test_what_this_server_knows_itself_it_does_not_let_others_tell(both: list[Town]) -> None:
    north, south = both
    alice, bob = north["alice"], south["bob"]
    room_id = await alice.create_room(name="Tea", preset="public_chat")
    await bob.join(room_id, via=[north.name])
    assert await names(bob, room_id) == ["Tea"]
    assert (await bob.room_summary(room_id)).num_joined_members == 2


async def test_a_summary_tells_what_a_room_is_here_and_elsewhere(both: list[Town]) -> None:
    north, south = both
    alice, bob, carol = north["alice"], south["bob"], north["carol"]
    encryption = {"type": "m.room.encryption", "state_key": "", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}
    room_id = await alice.create_room(
        name="Tea", topic="Leaves", preset="public_chat", alias="tea", initial_state=[encryption]
    )
    for who, via in ((carol, ()), (bob, (north.name,))):
        summary = await who.room_summary(room_id, via=via)
        assert (summary.name, summary.topic, summary.join_rule) == ("Tea", "Leaves", "public")
        assert (summary.encryption, summary.room_version) == ("m.megolm.v1.aes-sha2", "12")
        assert summary.membership is None
        assert (await who.room_summary(f"#tea:{north.name}")).room_id == room_id  # type: ignore[arg-type]  # an alias
    assert (await alice.room_summary(room_id)).membership == "join"
    private = await alice.create_room(name="Secret")
    for who in (bob, carol):
        with pytest.raises(Refused) as refusal:
            await who.room_summary(private, via=[north.name])
        assert (refusal.value.status, refusal.value.errcode) == (404, "M_NOT_FOUND")
    await alice.invite(private, carol.user_id)
    assert (await carol.room_summary(private)).membership == "invite"


async def test_strangers_are_told_of_open_rooms_of_this_server(both: list[Town]) -> None:
    north, south = both
    alice = north["alice"]
    room_id = await alice.create_room(name="Tea", preset="public_chat")
    private = await alice.create_room(name="Secret")
    async with Client(north.homeserver.urls[0]) as stranger, Client(south.homeserver.urls[0]) as far:
        assert (await stranger.room_summary(room_id)).name == "Tea"
        for who, named in ((stranger, private), (far, room_id)):
            with pytest.raises(Refused) as refusal:
                await who.room_summary(named, via=[north.name])
            assert refusal.value.status == 404


async def test_a_server_that_is_shut_out_is_not_shown_the_room(both: list[Town]) -> None:
    north, south = both
    alice, bob = north["alice"], south["bob"]
    room_id = await alice.create_room(name="Tea", preset="public_chat")
    await alice.set_state(room_id, "m.room.server_acl", {"allow": ["*"], "deny": [south.name]})
    with pytest.raises(Refused) as refusal:
        await bob.room_summary(room_id, via=[north.name])
    assert refusal.value.status == 404
