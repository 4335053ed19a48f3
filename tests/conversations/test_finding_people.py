"""People find each other by name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from tests.conversations.network import Network
from tests.conversations.towns import Town, towns
from tests.postgres import PostgresServer
from tests.servers import running_homeserver, signed_in
from tricord.clients import Client

_PATIENCE_SECONDS = 60


@pytest.fixture
async def both(postgres: PostgresServer, tmp_path: Path) -> AsyncIterator[list[Town]]:
    async with towns(postgres, tmp_path, Network(), north=["alice", "carol"], south=["bob"]) as found:
        yield found


async def names(client: Client, term: str) -> list[str]:
    return [one.user_id for one in (await client.search_users(term)).results]


async def is_found(client: Client, term: str, user_id: str) -> None:
    """Search until somebody is found: what comes from elsewhere is listed a moment later."""
    with trio.fail_after(_PATIENCE_SECONDS):
        while user_id not in await names(client, term):  # noqa: ASYNC110  # as a client looks again
            await trio.sleep(0.05)


async def test_who_shares_no_room_is_found_only_in_rooms_that_are_open(both: list[Town]) -> None:
    alice, carol = both[0]["alice"], both[0]["carol"]
    await alice.set_profile("displayname", "Alice Ünder")
    assert await names(carol, "alice") == []
    private = await alice.create_room()
    assert await names(carol, "alice") == []
    await alice.invite(private, carol.user_id)
    assert await names(carol, "alice") == []
    await carol.join(private)
    for term in ("alice", "ALI", "unde", "under ali", "@alice:nor"):
        assert await names(carol, term) == [alice.user_id], term
    assert await names(carol, "carol") == []
    await carol.leave(private)
    assert await names(carol, "alice") == []
    readable = {"history_visibility": "world_readable"}
    await alice.set_state(private, "m.room.history_visibility", readable)
    assert await names(carol, "alice") == [alice.user_id]
    await alice.set_state(private, "m.room.history_visibility", {"history_visibility": "shared"})
    assert await names(carol, "alice") == []
    await alice.set_state(private, "m.room.join_rules", {"join_rule": "public"})
    assert await names(carol, "alice") == [alice.user_id]


async def test_people_of_other_servers_are_found_by_the_name_they_have_in_rooms(both: list[Town]) -> None:
    north, south = both
    alice, bob = north["alice"], south["bob"]
    room_id = await alice.create_room(preset="public_chat")
    await bob.set_profile("displayname", "Robert")
    await bob.join(room_id, via=[north.name])
    await is_found(alice, "rob", bob.user_id)
    await is_found(bob, "alice", alice.user_id)
    (found,) = (await alice.search_users("robert")).results
    assert found.display_name == "Robert"


async def test_a_search_is_cut_where_it_should_and_says_so(both: list[Town]) -> None:
    alice = both[0]["alice"]
    room_id = await alice.create_room(preset="public_chat")
    async with signed_in(both[0].homeserver, "dora") as dora, signed_in(both[0].homeserver, "dorothea") as other:
        for person in (dora, other):
            await person.join(room_id)
        found = await alice.search_users("dor", limit=1)
        assert found.limited
        assert [one.user_id for one in found.results] == [dora.user_id]
        assert not (await alice.search_users("dor", limit=2)).limited
        exact = await alice.search_users("dorothea")
        assert [one.user_id for one in exact.results] == [other.user_id]


async def test_who_is_gone_is_not_found(both: list[Town]) -> None:
    alice = both[0]["alice"]
    room_id = await alice.create_room(preset="public_chat")
    async with signed_in(both[0].homeserver, "dora") as dora:
        await dora.join(room_id)
        assert await names(alice, "dora") == [dora.user_id]
        await dora.deactivate("correct horse battery staple")
        assert await names(alice, "dora") == []


async def test_an_operator_may_show_everybody_of_the_server(database_url: str, tmp_path: Path) -> None:
    shown = {"all_local_users": True}
    async with (
        running_homeserver(database_url, tmp_path, user_directory=shown) as homeserver,
        signed_in(homeserver, "alice") as alice,
        signed_in(homeserver, "bob") as bob,
    ):
        assert await names(alice, "bob") == [bob.user_id]


async def test_rooms_in_common_are_told_and_no_others(both: list[Town]) -> None:
    north, south = both
    alice, bob, carol = north["alice"], south["bob"], north["carol"]
    shared = await alice.create_room(preset="public_chat")
    await alice.create_room(preset="public_chat")
    own = await carol.create_room(preset="public_chat")
    for person in (bob, carol):
        await person.join(shared, via=[north.name])
    assert await alice.mutual_rooms(bob.user_id) == [shared]
    await bob.join(own, via=[north.name])
    assert sorted(await carol.mutual_rooms(bob.user_id)) == sorted([shared, own])
    assert await alice.mutual_rooms(bob.user_id) == [shared]
