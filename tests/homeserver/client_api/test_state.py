"""Setting and reading state."""

from __future__ import annotations

from typing import Any

import pytest

from tests.homeserver.client_api.people import Person


async def test_state_is_what_was_set_last(alice: Person) -> None:
    room = await alice.create_room()
    path = f"/v3/rooms/{room}/state/org.example.tea/green"
    await alice.put(path, {"leaves": 1})
    await alice.put(path, {"leaves": 2})
    assert await alice.get(path) == {"leaves": 2}
    event = await alice.get(f"{path}?format=event")
    assert (event["type"], event["state_key"], event["content"]) == ("org.example.tea", "green", {"leaves": 2})
    assert event["unsigned"]["prev_content"] == {"leaves": 1}


async def test_setting_the_same_again_is_the_same_event(alice: Person) -> None:
    room = await alice.create_room()
    path = f"/v3/rooms/{room}/state/m.room.name"
    first = await alice.put(path, {"name": "Tea"})
    assert await alice.put(f"{path}/", {"name": "Tea"}) == first
    assert await alice.put(path, {"name": "Tee"}) != first


async def test_the_state_key_may_be_left_out(alice: Person) -> None:
    room = await alice.create_room(name="Tea")
    assert await alice.get(f"/v3/rooms/{room}/state/m.room.name") == {"name": "Tea"}
    assert await alice.get(f"/v3/rooms/{room}/state/m.room.name/") == {"name": "Tea"}
    assert await alice.refused("GET", f"/v3/rooms/{room}/state/m.room.name/x") == (404, "M_NOT_FOUND")


async def test_members_without_the_power_set_no_state(alice: Person, bob: Person) -> None:
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    assert await bob.refused("PUT", f"/v3/rooms/{room}/state/m.room.name", {"name": "x"}) == (403, "M_FORBIDDEN")


async def test_nobody_shuts_out_their_own_server(alice: Person) -> None:
    room, path = await alice.create_room(), "/v3/rooms/{}/state/m.room.server_acl"
    assert await alice.refused("PUT", path.format(room), {"allow": []}) == (400, "M_INVALID_PARAM")
    await alice.put(path.format(room), {"allow": ["*"], "deny": ["evil.test"]})
    shutting_out = {"initial_state": [{"type": "m.room.server_acl", "content": {"deny": ["*"]}}]}
    assert await alice.refused("POST", "/v3/createRoom", shutting_out) == (400, "M_INVALID_PARAM")


async def test_members_are_listed_by_what_they_are(alice: Person, bob: Person, carol: Person) -> None:
    room = await alice.create_room(preset="public_chat", invite=[carol.user_id])
    await bob.join(room)

    async def members(query: str) -> set[str]:
        page = await alice.get(f"/v3/rooms/{room}/members?{query}")
        return {event["state_key"] for event in page["chunk"]}

    assert await members("") == {alice.user_id, bob.user_id, carol.user_id}
    assert await members("membership=join") == {alice.user_id, bob.user_id}
    assert await members("not_membership=join") == {carol.user_id}
    assert await members("membership=invite&not_membership=join") == {carol.user_id}
    assert await alice.refused("GET", f"/v3/rooms/{room}/members?membership=x") == (400, "M_INVALID_PARAM")


async def test_members_are_listed_as_of_a_time(alice: Person, bob: Person) -> None:
    room = await alice.create_room(preset="public_chat")
    before = (await alice.get(f"/v3/rooms/{room}/messages?dir=b&limit=1"))["start"]
    await bob.join(room)
    page = await alice.get(f"/v3/rooms/{room}/members?at={before}")
    assert [event["state_key"] for event in page["chunk"]] == [alice.user_id]


async def test_all_state_is_a_list_of_events(alice: Person) -> None:
    room = await alice.create_room(name="Tea")
    events = await alice.get(f"/v3/rooms/{room}/state")
    keys = {(event["type"], event["state_key"]) for event in events}
    assert {("m.room.create", ""), ("m.room.member", alice.user_id), ("m.room.name", "")} <= keys
    assert len(keys) == len(events)


@pytest.mark.parametrize(
    ("content", "errcode"),
    [
        ({"alias": "#other:hs.test"}, "M_BAD_ALIAS"),
        ({"alias": "#unknown:hs.test"}, "M_BAD_ALIAS"),
        ({"alias": "#x:elsewhere.test"}, "M_BAD_ALIAS"),
        ({"alt_aliases": ["#tea:hs.test", "#other:hs.test"]}, "M_BAD_ALIAS"),
        ({"alias": "tea"}, "M_INVALID_PARAM"),
        ({"alt_aliases": [1]}, "M_INVALID_PARAM"),
    ],
)
async def test_a_room_shows_only_aliases_that_lead_to_it(alice: Person, content: dict[str, Any], errcode: str) -> None:
    await alice.create_room(room_alias_name="other")
    room = await alice.create_room(room_alias_name="tea")
    path = f"/v3/rooms/{room}/state/m.room.canonical_alias"
    assert await alice.refused("PUT", path, content) == (400, errcode)
    await alice.put(path, {"alt_aliases": ["#tea:hs.test"]})


async def test_names_that_cannot_be_are_refused(alice: Person) -> None:
    for room in ("x", "!", "%00", "!" + "x" * 10_000):
        status, _ = await alice.call("GET", f"/v3/rooms/{room}/state")
        assert status in {400, 403, 404}
