"""Aliases and published rooms."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.homeserver.client_api.people import Person

ALIAS = "/v3/directory/room/%23tea:hs.test"


async def test_an_alias_leads_to_its_room(alice: Person, bob: Person) -> None:
    room = await alice.create_room()
    await alice.put(ALIAS, {"room_id": room})
    assert await bob.get(ALIAS) == {"room_id": room, "servers": ["hs.test"]}
    assert (await alice.get(f"/v3/rooms/{room}/aliases"))["aliases"] == ["#tea:hs.test"]
    assert await alice.refused("PUT", ALIAS, {"room_id": room}) == (409, "M_UNKNOWN")


async def test_only_members_name_a_room(alice: Person, bob: Person) -> None:
    room = await alice.create_room()
    assert await bob.refused("PUT", ALIAS, {"room_id": room}) == (403, "M_FORBIDDEN")
    assert await bob.refused("PUT", ALIAS, {"room_id": "!x:hs.test"}) == (404, "M_NOT_FOUND")


@pytest.mark.parametrize("alias", ["tea", "%23tea", "%23te%00a:hs.test", "%23tea:elsewhere.test", "%23" + "x" * 300])
async def test_aliases_that_cannot_be_are_refused(alice: Person, alias: str) -> None:
    room = await alice.create_room()
    refusal = await alice.refused("PUT", f"/v3/directory/room/{alias}", {"room_id": room})
    assert refusal == (400, "M_INVALID_PARAM")


async def test_its_maker_and_moderators_take_an_alias_away(alice: Person, bob: Person, carol: Person) -> None:
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    await carol.join(room)
    for who in (bob, alice):
        await bob.put(ALIAS, {"room_id": room})
        assert await carol.refused("DELETE", ALIAS) == (403, "M_FORBIDDEN")
        await who.delete(ALIAS)
        assert await who.refused("GET", ALIAS) == (404, "M_NOT_FOUND")
        assert await who.refused("DELETE", ALIAS) == (404, "M_NOT_FOUND")


async def test_an_alias_taken_away_is_no_longer_shown(alice: Person) -> None:
    room = await alice.create_room(room_alias_name="tea")
    await alice.delete(ALIAS)
    assert await alice.state(room, "m.room.canonical_alias") == {}


async def test_published_rooms_are_found_by_everybody(alice: Person, bob: Person) -> None:
    room = await alice.create_room(
        visibility="public", name="Green Tea", topic="Leaves", room_alias_name="tea", room_version="12"
    )
    await alice.create_room(preset="public_chat", name="not published")
    page = await bob.get("/v3/publicRooms")
    assert page["chunk"] == [
        {
            "room_id": room,
            "name": "Green Tea",
            "topic": "Leaves",
            "canonical_alias": "#tea:hs.test",
            "num_joined_members": 1,
            "world_readable": False,
            "guest_can_join": False,
            "join_rule": "public",
        }
    ]
    assert (await bob.get(f"/v3/directory/list/room/{room}"))["visibility"] == "public"


async def test_the_directory_is_searched_by_words_and_kinds(alice: Person) -> None:
    tea = await alice.create_room(visibility="public", name="Green Tea")
    space = await alice.create_room(visibility="public", name="Kitchen", creation_content={"type": "m.space"})

    async def found(**wanted: object) -> list[str]:
        page = await alice.post("/v3/publicRooms", {"filter": wanted})
        return [room["room_id"] for room in page["chunk"]]

    assert await found(generic_search_term="tEa") == [tea]
    assert await found(generic_search_term="coffee") == []
    assert await found(room_types=["m.space"]) == [space]
    assert await found(room_types=[None]) == [tea]
    assert set(await found()) == {tea, space}


async def test_networks_that_are_not_bridged_have_no_rooms(alice: Person) -> None:
    await alice.create_room(visibility="public")
    network = {"third_party_instance_id": "irc"}
    assert await alice.post("/v3/publicRooms", network) == {"chunk": [], "total_room_count_estimate": 0}
    refusal = await alice.refused("POST", "/v3/publicRooms", {**network, "include_all_networks": True})
    assert refusal == (400, "M_INVALID_PARAM")
    assert len((await alice.post("/v3/publicRooms", {"include_all_networks": True}))["chunk"]) == 1


async def test_the_directory_is_read_page_by_page_in_both_directions(alice: Person, bob: Person) -> None:
    rooms = [await alice.create_room(visibility="public") for _ in range(5)]
    await bob.join(rooms[3])
    first = await alice.get("/v3/publicRooms?limit=2")
    assert first["chunk"][0]["room_id"] == rooms[3]
    assert first["total_room_count_estimate"] == 5
    assert "prev_batch" not in first
    second = await alice.get(f"/v3/publicRooms?limit=2&since={first['next_batch']}")
    third = await alice.get(f"/v3/publicRooms?limit=2&since={second['next_batch']}")
    assert "next_batch" not in third
    assert {room["room_id"] for page in (first, second, third) for room in page["chunk"]} == set(rooms)
    assert (await alice.get(f"/v3/publicRooms?limit=2&since={second['prev_batch']}"))["chunk"] == first["chunk"]
    assert await alice.refused("GET", "/v3/publicRooms?since=x") == (400, "M_INVALID_PARAM")


async def test_who_may_set_the_main_address_publishes_the_room(alice: Person, bob: Person) -> None:
    room = await alice.create_room(preset="public_chat")
    path = f"/v3/directory/list/room/{room}"
    await bob.join(room)
    assert await bob.refused("PUT", path, {"visibility": "public"}) == (403, "M_FORBIDDEN")
    await alice.put(path, {})
    assert (await bob.get(path))["visibility"] == "public"
    await alice.put(path, {"visibility": "private"})
    assert (await bob.get(path))["visibility"] == "private"
    administrator = replace(bob, requester=replace(bob.requester, is_admin=True))
    await administrator.put(path, {"visibility": "public"})


async def test_what_is_not_here_is_not_found(alice: Person) -> None:
    assert await alice.refused("GET", "/v3/directory/list/room/!x:hs.test") == (404, "M_NOT_FOUND")
    assert await alice.refused("GET", "/v3/publicRooms?server=elsewhere.test") == (404, "M_NOT_FOUND")
    assert await alice.refused("GET", "/v3/directory/room/%23x:elsewhere.test") == (404, "M_NOT_FOUND")
