"""Creating rooms."""

from __future__ import annotations

from typing import Any

import pytest

from tests.homeserver.client_api.people import Person


async def first_events(alice: Person, room: str) -> list[dict[str, Any]]:
    page = await alice.get(f"/v3/rooms/{room}/messages?dir=f&limit=100")
    events: list[dict[str, Any]] = page["chunk"]
    return events


async def test_the_events_of_a_room_come_in_the_order_of_the_specification(alice: Person, bob: Person) -> None:
    room = await alice.create_room(
        preset="public_chat",
        room_alias_name="tea",
        name="Tea",
        topic="Leaves",
        initial_state=[
            {"type": "m.room.encryption", "content": {"algorithm": "m.megolm.v1.aes-sha2"}},
            {"type": "m.room.history_visibility", "content": {"history_visibility": "joined"}},
            {"type": "m.room.name", "content": {"name": "overwritten"}},
        ],
        invite=[bob.user_id],
        is_direct=True,
    )
    events = await first_events(alice, room)
    assert [event["type"] for event in events] == [
        "m.room.create",
        "m.room.member",
        "m.room.power_levels",
        "m.room.canonical_alias",
        "m.room.join_rules",
        "m.room.guest_access",
        "m.room.encryption",
        "m.room.history_visibility",
        "m.room.name",
        "m.room.topic",
        "m.room.member",
    ]
    assert events[8]["content"] == {"name": "Tea"}
    assert events[9]["content"]["m.topic"]["m.text"][0]["body"] == "Leaves"
    assert events[10]["state_key"] == bob.user_id
    assert events[10]["content"]["is_direct"] is True


@pytest.mark.parametrize(
    ("preset", "join_rule", "guest_access"),
    [
        ("private_chat", "invite", "can_join"),
        ("trusted_private_chat", "invite", "can_join"),
        ("public_chat", "public", "forbidden"),
    ],
)
async def test_presets_set_the_rules(alice: Person, preset: str, join_rule: str, guest_access: str) -> None:
    room = await alice.create_room(preset=preset)
    assert await alice.state(room, "m.room.join_rules") == {"join_rule": join_rule}
    assert await alice.state(room, "m.room.guest_access") == {"guest_access": guest_access}
    assert await alice.state(room, "m.room.history_visibility") == {"history_visibility": "shared"}


async def test_trusted_invitees_create_a_room_of_version_12_together(alice: Person, bob: Person) -> None:
    room = await alice.create_room(
        preset="trusted_private_chat",
        room_version="12",
        invite=[bob.user_id],
        creation_content={"additional_creators": [bob.user_id], "room_version": "1", "creator": "@x:hs.test"},
    )
    create = await alice.state(room, "m.room.create")
    assert create == {"room_version": "12", "additional_creators": [bob.user_id]}
    levels = await alice.state(room, "m.room.power_levels")
    assert levels["users"] == {}
    assert levels["events"]["m.room.tombstone"] == 150


async def test_the_creator_of_an_older_room_is_its_administrator(alice: Person) -> None:
    room = await alice.create_room(room_version="10")
    assert (await alice.state(room, "m.room.create"))["creator"] == alice.user_id
    assert (await alice.state(room, "m.room.power_levels"))["users"] == {alice.user_id: 100}


async def test_an_alias_that_is_taken_is_refused(alice: Person, bob: Person) -> None:
    await alice.create_room(room_alias_name="tea")
    assert await bob.refused("POST", "/v3/createRoom", {"room_alias_name": "tea"}) == (400, "M_ROOM_IN_USE")


async def test_a_room_that_failed_leaves_its_alias_free(alice: Person) -> None:
    wanted = {"room_alias_name": "tea", "power_level_content_override": {"users": {alice.user_id: 0}}}
    refusal = await alice.refused("POST", "/v3/createRoom", {**wanted, "room_version": "11", "name": "x"})
    assert refusal == (400, "M_INVALID_ROOM_STATE")
    assert await alice.refused("GET", "/v3/directory/room/%23tea:hs.test") == (404, "M_NOT_FOUND")
    await alice.create_room(room_alias_name="tea")


@pytest.mark.parametrize(
    ("wanted", "status", "errcode"),
    [
        ({"room_version": "0"}, 400, "M_UNSUPPORTED_ROOM_VERSION"),
        ({"preset": "loud_chat"}, 400, "M_BAD_JSON"),
        ({"room_alias_name": "with space"}, 400, "M_INVALID_PARAM"),
        ({"room_alias_name": "nul\0"}, 400, "M_INVALID_PARAM"),
        ({"invite": ["bob"]}, 400, "M_INVALID_PARAM"),
        ({"invite": ["@bob:elsewhere.test"]}, 403, "M_FORBIDDEN"),
        ({"creation_content": {"additional_creators": [1]}, "room_version": "12"}, 400, "M_BAD_JSON"),
        ({"creation_content": {"x": 1.5}}, 400, "M_BAD_JSON"),
        ({"initial_state": [{"type": "m.room.create", "content": {}}]}, 400, "M_INVALID_ROOM_STATE"),
        ({"power_level_content_override": {"users": {"@alice:hs.test": 100}}, "room_version": "12"}, 400, None),
        (
            {"invite_3pid": [{"id_server": "x", "id_access_token": "x", "medium": "email", "address": "x"}]},
            403,
            "M_SERVER_NOT_TRUSTED",
        ),
    ],
)
async def test_what_cannot_be_is_refused(
    alice: Person, wanted: dict[str, Any], status: int, errcode: str | None
) -> None:
    refusal = await alice.refused("POST", "/v3/createRoom", wanted)
    assert refusal == (status, errcode or refusal[1])


async def test_no_room_is_made_for_those_who_want_no_invitations(alice: Person, bob: Person, carol: Person) -> None:
    await bob.set_account_data("m.invite_permission_config", {"default_action": "block"})
    wanted = {"invite": [carol.user_id, bob.user_id]}
    assert await alice.refused("POST", "/v3/createRoom", wanted) == (403, "M_INVITE_BLOCKED")
    assert (await alice.get("/v3/joined_rooms"))["joined_rooms"] == []
    await bob.set_account_data("m.invite_permission_config", {})
    await alice.create_room(**wanted)
