"""A room is replaced by one of another version, and its people, its names and its spaces move on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.conversations.network import Network
from tests.conversations.towns import Town, heard, members, towns
from tests.postgres import PostgresServer
from tricord.clients import Client, Refused
from tricord.protocol.identifiers import RoomAlias, RoomId, UserId

SPACE = {"type": "m.space"}


@pytest.fixture
async def both(postgres: PostgresServer, tmp_path: Path) -> AsyncIterator[list[Town]]:
    async with towns(postgres, tmp_path, Network(), north=["alice", "carol"], south=["bob"]) as found:
        yield found


async def content(client: Client, room_id: RoomId, event_type: str, state_key: str = "") -> dict[str, Any]:
    """Return a piece of state that is there."""
    found = await client.state(room_id, event_type, state_key)
    assert found is not None
    return found


async def create_content(client: Client, room_id: RoomId) -> dict[str, Any]:
    return await content(client, room_id, "m.room.create")


@pytest.mark.parametrize(("old", "new"), [("1", "12"), ("10", "11"), ("11", "12"), ("12", "12"), ("12", "11")])
async def test_the_replacement_looks_like_the_room_and_both_point_to_each_other(
    both: list[Town], old: str, new: str
) -> None:
    alice = both[0]["alice"]
    room_id = await alice.create_room(name="Tea", topic="Leaves", preset="public_chat", alias="tea", room_version=old)
    await alice.set_directory_visibility(room_id, "public")
    banned = UserId("@mallory:elsewhere.test")
    await alice.ban(room_id, banned, reason="spam")
    replacement = await alice.upgrade(room_id, new)

    created = await create_content(alice, replacement)
    assert created["room_version"] == new
    assert created["predecessor"]["room_id"] == room_id
    assert (await content(alice, room_id, "m.room.tombstone"))["replacement_room"] == replacement
    for event_type in ("m.room.name", "m.room.topic", "m.room.join_rules", "m.room.history_visibility"):
        assert await content(alice, replacement, event_type) == await content(alice, room_id, event_type)
    ban = await content(alice, replacement, "m.room.member", banned)
    assert (ban["membership"], ban["reason"]) == ("ban", "spam")

    alias = RoomAlias("#tea:north.test")
    assert (await alice.resolve_alias(alias)).room_id == replacement
    assert await content(alice, replacement, "m.room.canonical_alias") == {"alias": alias}
    assert "alias" not in await content(alice, room_id, "m.room.canonical_alias")
    assert [room.room_id for room in (await alice.public_rooms()).chunk] == [replacement]
    # The upgrader can do in the new room what they could do in the old one.
    await alice.set_state(replacement, "m.room.power_levels", await content(alice, replacement, "m.room.power_levels"))
    await alice.upgrade(replacement, "12")


async def test_a_room_of_version_12_names_its_creators_anew(both: list[Town]) -> None:
    alice, carol = both[0]["alice"], both[0]["carol"]
    room_id = await alice.create_room(preset="public_chat", room_version="11")
    await carol.join(room_id)
    levels = await content(alice, room_id, "m.room.power_levels")
    levels["users"] |= {carol.user_id: 100, "@dave:elsewhere.test": 50}
    await alice.set_state(room_id, "m.room.power_levels", levels)
    replacement = await alice.upgrade(room_id, "12", additional_creators=[carol.user_id])
    assert (await create_content(alice, replacement))["additional_creators"] == [carol.user_id]
    new = await content(alice, replacement, "m.room.power_levels")
    assert new["users"] == {"@dave:elsewhere.test": 50}
    assert new["events"]["m.room.tombstone"] > 100


async def test_creators_who_are_not_named_anew_are_administrators(both: list[Town]) -> None:
    alice, carol = both[0]["alice"], both[0]["carol"]
    also = {"additional_creators": [carol.user_id]}
    for new in ("12", "11"):
        room_id = await alice.create_room(preset="public_chat", room_version="12", creation_content=also)
        replacement = await alice.upgrade(room_id, new)
        users = (await content(alice, replacement, "m.room.power_levels"))["users"]
        assert users[carol.user_id] == 100
        await carol.join(replacement)
        await carol.set_state(replacement, "m.room.name", {"name": "Mine as well"})


async def test_nobody_speaks_in_the_old_room_and_only_who_may_replaces_it(both: list[Town]) -> None:
    alice, carol = both[0]["alice"], both[0]["carol"]
    room_id = await alice.create_room(preset="public_chat", room_version="11")
    await carol.join(room_id)
    with pytest.raises(Refused) as refusal:
        await carol.upgrade(room_id, "12")
    assert (refusal.value.status, refusal.value.errcode) == (403, "M_FORBIDDEN")
    with pytest.raises(Refused) as refusal:
        await alice.upgrade(room_id, "none")
    assert (refusal.value.status, refusal.value.errcode) == (400, "M_UNSUPPORTED_ROOM_VERSION")
    await carol.send_text(room_id, "I speak")
    await alice.upgrade(room_id, "12")
    with pytest.raises(Refused):
        await carol.send_text(room_id, "I cannot speak")


async def test_spaces_show_the_new_room_in_the_place_of_the_old(both: list[Town]) -> None:
    alice, carol = both[0]["alice"], both[0]["carol"]
    own = await alice.create_room(creation_content=SPACE)
    foreign = await carol.create_room(preset="public_chat", creation_content=SPACE)
    await alice.join(foreign)
    room_id = await alice.create_room(room_version="11")
    child = {"via": ["north.test"], "suggested": True, "order": "a"}
    await alice.set_state(own, "m.space.child", child, room_id)
    await carol.set_state(foreign, "m.space.child", child, room_id)
    replacement = await alice.upgrade(room_id, "12")
    assert await content(alice, own, "m.space.child", replacement) == child
    assert await content(alice, own, "m.space.child", room_id) == {}
    assert await content(alice, foreign, "m.space.child", room_id) == child


async def test_a_space_that_is_replaced_keeps_its_children_and_stays_a_space(both: list[Town]) -> None:
    alice = both[0]["alice"]
    space = await alice.create_room(creation_content=SPACE, room_version="11")
    room_id = await alice.create_room()
    await alice.set_state(space, "m.space.child", {"via": ["north.test"]}, room_id)
    replacement = await alice.upgrade(space, "12")
    assert (await create_content(alice, replacement))["type"] == "m.space"
    assert await content(alice, replacement, "m.space.child", room_id) == {"via": ["north.test"]}


async def test_who_moves_in_takes_tags_and_push_rules_along_even_from_another_server(both: list[Town]) -> None:
    north, south = both
    alice, bob = north["alice"], south["bob"]
    room_id = await alice.create_room(preset="public_chat", room_version="11")
    await bob.join(room_id, via=[north.name])
    for person in (alice, bob):
        await person.set_tag(room_id, "m.favourite", order=0.25)
        await person.set_push_rule("room", room_id, [])
        muted = [{"kind": "event_match", "key": "room_id", "pattern": room_id}]
        await person.set_push_rule("override", room_id, [], conditions=muted)
        await person.set_account_data("m.direct", {"@x:north.test": [room_id]})
    replacement = await alice.upgrade(room_id, "12")
    said = await alice.send_text(replacement, "Here I am")
    await bob.join(replacement, via=[north.name])
    assert await members(bob, replacement) == {alice.user_id, bob.user_id}
    for person in (alice, bob):
        assert await person.tags(replacement) == {"m.favourite": {"order": 0.25}}
        rules = await person.push_rules()
        for kind in ("room", "override"):
            assert replacement in [rule["rule_id"] for rule in rules[kind]]
        assert await person.account_data("m.direct") == {"@x:north.test": [room_id, replacement]}
    assert said != await bob.send_text(replacement, "Me too")


async def test_a_room_that_only_claims_a_predecessor_takes_nothing_over(both: list[Town]) -> None:
    alice, carol = both[0]["alice"], both[0]["carol"]
    room_id = await alice.create_room(preset="public_chat")
    await carol.join(room_id)
    await carol.set_tag(room_id, "m.favourite", order=0.25)
    claimed = {"predecessor": {"room_id": room_id}}
    false = await alice.create_room(preset="public_chat", creation_content=claimed)
    await carol.join(false)
    assert await carol.tags(false) == {}


async def test_the_far_side_learns_of_the_replacement(both: list[Town]) -> None:
    north, south = both
    alice, bob = north["alice"], south["bob"]
    room_id = await alice.create_room(preset="public_chat", room_version="10")
    await bob.join(room_id, via=[north.name])
    replacement = await alice.upgrade(room_id, "12")
    last = await alice.set_state(room_id, "org.example.last", {})
    await heard(bob, room_id, last)
    assert (await content(bob, room_id, "m.room.tombstone"))["replacement_room"] == replacement
