"""Who can read what was said when: https://spec.matrix.org/v1.19/client-server-api/#room-history-visibility"""

from __future__ import annotations

import pytest

from tests.homeserver.client_api.conftest import Everybody
from tests.homeserver.client_api.people import Person


async def room_with_history(alice: Person, bob: Person, visibility: str) -> str:
    """Something is said before Bob is invited, while he is, while he is in, and after he left."""
    rule = {"type": "m.room.history_visibility", "content": {"history_visibility": visibility}}
    room = await alice.create_room(initial_state=[rule])
    await alice.say(room, "before")
    await alice.invite(room, bob)
    await alice.say(room, "invited")
    await bob.join(room)
    await alice.say(room, "joined")
    await bob.post(f"/v3/rooms/{room}/leave")
    await alice.say(room, "after")
    return room


EXPECTED = {
    "world_readable": ["before", "invited", "joined", "after"],
    "shared": ["before", "invited", "joined"],
    "invited": ["invited", "joined"],
    "joined": ["joined"],
}


@pytest.mark.parametrize("visibility", EXPECTED)
async def test_who_has_left_sees_what_they_could_see_before(alice: Person, bob: Person, visibility: str) -> None:
    room = await room_with_history(alice, bob, visibility)
    assert await bob.history(room) == EXPECTED[visibility]
    assert await bob.history(room, "dir=b&limit=100") == EXPECTED[visibility][::-1]
    assert await alice.history(room) == ["before", "invited", "joined", "after"]


@pytest.mark.parametrize("visibility", EXPECTED)
async def test_who_comes_back_sees_as_much_of_the_time_between(alice: Person, bob: Person, visibility: str) -> None:
    room = await room_with_history(alice, bob, visibility)
    await alice.invite(room, bob)
    await bob.join(room)
    await alice.say(room, "again")
    between = ["after"] if visibility == "shared" else []
    assert await bob.history(room) == [*EXPECTED[visibility], *between, "again"]


@pytest.mark.parametrize("visibility", EXPECTED)
async def test_single_events_follow_the_same_rule(alice: Person, bob: Person, visibility: str) -> None:
    room = await room_with_history(alice, bob, visibility)
    page = await alice.get(f"/v3/rooms/{room}/messages?dir=f&limit=100")
    for event in page["chunk"]:
        if event["type"] != "m.room.message":
            continue
        for path in ("event", "context"):
            status, _ = await bob.call("GET", f"/v3/rooms/{room}/{path}/{event['event_id']}")
            assert status == (200 if event["content"]["body"] in EXPECTED[visibility] else 404)


async def test_changes_of_visibility_hold_from_then_on(alice: Person, bob: Person) -> None:
    room = await alice.create_room(preset="public_chat")
    path = f"/v3/rooms/{room}/state/m.room.history_visibility"
    await alice.say(room, "shared")
    await alice.put(path, {"history_visibility": "joined"})
    await alice.say(room, "joined")
    await alice.put(path, {"history_visibility": "shared"})
    await alice.say(room, "shared again")
    await bob.join(room)
    assert await bob.history(room) == ["shared", "shared again"]


async def test_strangers_read_a_world_readable_room(alice: Person, bob: Person, guest: Person) -> None:
    room = await room_with_history(alice, bob, "world_readable")
    assert await guest.history(room) == EXPECTED["world_readable"]
    assert await guest.state(room, "m.room.history_visibility") == {"history_visibility": "world_readable"}
    await guest.get(f"/v3/rooms/{room}/members")
    await alice.put(f"/v3/rooms/{room}/state/m.room.history_visibility", {"history_visibility": "shared"})
    assert await guest.refused("GET", f"/v3/rooms/{room}/messages?dir=b") == (403, "M_FORBIDDEN")


async def test_strangers_are_told_nothing(everybody: Everybody, alice: Person, bob: Person, carol: Person) -> None:
    room = await alice.create_room(invite=[carol.user_id])
    said = await alice.say(room, "secret")
    reads = [route.endpoint for route in everybody.routes if route.endpoint.method == "GET"]
    of_rooms = [read for read in reads if "/rooms/{room_id}/" in read.path]
    assert len(of_rooms) > 10
    for read in of_rooms:
        parameters = {"room_id": room, "event_id": said, "event_type": "m.room.create", "state_key": ""}
        path = read.url(**{"rel_type": "m.thread", **parameters}).removeprefix("/_matrix/client")
        for stranger in (bob, carol):
            status, errcode = await stranger.refused("GET", f"{path}?dir=f&ts=0")
            single = "event_id" in read.parameters()
            assert (status, errcode) == ((404, "M_NOT_FOUND") if single else (403, "M_FORBIDDEN")), path


async def test_rooms_that_do_not_exist_look_like_rooms_of_others(alice: Person) -> None:
    assert await alice.refused("GET", "/v3/rooms/!x:hs.test/state") == (403, "M_FORBIDDEN")
    assert await alice.refused("GET", "/v3/rooms/!x:hs.test/messages?dir=b") == (403, "M_FORBIDDEN")


async def test_an_event_is_not_found_through_another_room(alice: Person, bob: Person) -> None:
    room, own = await alice.create_room(), await bob.create_room()
    said = await alice.say(room, "secret")
    assert await bob.refused("GET", f"/v3/rooms/{own}/event/{said}") == (404, "M_NOT_FOUND")
    assert await bob.refused("GET", f"/v3/rooms/{own}/context/{said}") == (404, "M_NOT_FOUND")


async def test_the_state_is_that_of_the_time_of_leaving(alice: Person, bob: Person) -> None:
    room = await alice.create_room(preset="public_chat", name="Then")
    await bob.join(room)
    await alice.post(f"/v3/rooms/{room}/kick", {"user_id": bob.user_id})
    await alice.put(f"/v3/rooms/{room}/state/m.room.name", {"name": "Now"})
    await alice.put(f"/v3/rooms/{room}/state/m.room.topic", {"topic": "secret"})
    assert await bob.state(room, "m.room.name") == {"name": "Then"}
    assert await bob.refused("GET", f"/v3/rooms/{room}/state/m.room.topic") == (404, "M_NOT_FOUND")
    everything = await bob.get(f"/v3/rooms/{room}/state")
    assert "m.room.topic" not in {event["type"] for event in everything}
    members = await bob.get(f"/v3/rooms/{room}/members")
    assert {event["state_key"]: event["content"]["membership"] for event in members["chunk"]} == {
        alice.user_id: "join",
        bob.user_id: "leave",
    }
    assert await bob.refused("GET", f"/v3/rooms/{room}/aliases") == (403, "M_FORBIDDEN")


async def test_who_was_banned_without_ever_joining_sees_nothing(alice: Person, bob: Person) -> None:
    room = await alice.create_room()
    await alice.say(room, "secret")
    await alice.post(f"/v3/rooms/{room}/ban", {"user_id": bob.user_id})
    assert await bob.refused("GET", f"/v3/rooms/{room}/state") == (403, "M_FORBIDDEN")
    assert await bob.refused("GET", f"/v3/rooms/{room}/messages?dir=b") == (403, "M_FORBIDDEN")


async def test_messages_of_ignored_people_are_not_shown(alice: Person, bob: Person) -> None:
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    await alice.say(room, "spam")
    await alice.put(f"/v3/rooms/{room}/state/m.room.name", {"name": "Spam"})
    await bob.set_account_data("m.ignored_user_list", {"ignored_users": {alice.user_id: {}}})
    page = await bob.get(f"/v3/rooms/{room}/messages?dir=b&limit=2")
    assert [event["type"] for event in page["chunk"]] == ["m.room.name", "m.room.member"]


async def test_readers_are_told_what_they_were_to_the_room(alice: Person, bob: Person) -> None:
    room = await room_with_history(alice, bob, "shared")
    page = await bob.get(f"/v3/rooms/{room}/messages?dir=f&limit=100")
    told = {
        event["content"]["body"]: event["unsigned"]["membership"]
        for event in page["chunk"]
        if event["type"] == "m.room.message"
    }
    assert told == {"before": "leave", "invited": "invite", "joined": "join"}
