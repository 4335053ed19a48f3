"""Coming and going."""

from __future__ import annotations

import pytest

from tests.homeserver.client_api.people import Person


async def membership(reader: Person, room: str, person: Person) -> str:
    return str((await reader.state(room, "m.room.member", person.user_id))["membership"])


async def test_a_public_room_can_be_joined_by_its_alias(alice: Person, bob: Person) -> None:
    room = await alice.create_room(preset="public_chat", room_alias_name="tea")
    assert await bob.post("/v3/join/%23tea:hs.test") == {"room_id": room}
    assert (await bob.get("/v3/joined_rooms"))["joined_rooms"] == [room]


async def test_joining_twice_changes_nothing(alice: Person, bob: Person) -> None:
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    before = await bob.get(f"/v3/rooms/{room}/state/m.room.member/{bob.user_id}?format=event")
    await bob.join(room)
    after = await bob.get(f"/v3/rooms/{room}/state/m.room.member/{bob.user_id}?format=event")
    assert before["event_id"] == after["event_id"]


async def test_a_private_room_needs_an_invitation(alice: Person, bob: Person) -> None:
    room = await alice.create_room()
    assert await bob.refused("POST", f"/v3/join/{room}") == (403, "M_FORBIDDEN")
    await alice.invite(room, bob)
    await alice.invite(room, bob)
    await bob.join(room)
    assert await membership(alice, room, bob) == "join"
    assert await alice.refused("POST", f"/v3/rooms/{room}/invite", {"user_id": bob.user_id}) == (403, "M_FORBIDDEN")


async def test_the_profile_and_the_reason_are_in_the_member_event(alice: Person, bob: Person) -> None:
    await bob.set_profile(displayname="Bob", avatar_url="mxc://hs.test/bob")
    room = await alice.create_room(preset="public_chat")
    await bob.post(f"/v3/rooms/{room}/join", {"reason": "tea"})
    content = await bob.state(room, "m.room.member", bob.user_id)
    assert content == {"membership": "join", "displayname": "Bob", "avatar_url": "mxc://hs.test/bob", "reason": "tea"}
    joined = (await alice.get(f"/v3/rooms/{room}/joined_members"))["joined"]
    assert joined[bob.user_id] == {"display_name": "Bob", "avatar_url": "mxc://hs.test/bob"}


async def test_leaving_is_done_once(alice: Person, bob: Person) -> None:
    room = await alice.create_room(preset="public_chat")
    assert await bob.refused("POST", f"/v3/rooms/{room}/leave") == (403, "M_FORBIDDEN")
    await bob.join(room)
    await bob.post(f"/v3/rooms/{room}/leave")
    await bob.post(f"/v3/rooms/{room}/leave")
    assert await membership(alice, room, bob) == "leave"
    assert await bob.refused("PUT", f"/v3/rooms/{room}/send/m.room.message/1", {}) == (403, "M_FORBIDDEN")


async def test_an_invitation_can_be_rejected(alice: Person, bob: Person) -> None:
    room = await alice.create_room(invite=[bob.user_id])
    await bob.post(f"/v3/rooms/{room}/leave")
    assert await bob.refused("POST", f"/v3/rooms/{room}/join") == (403, "M_FORBIDDEN")


async def test_moderators_kick_ban_and_unban_and_others_do_not(alice: Person, bob: Person, carol: Person) -> None:
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    await carol.join(room)
    whom = {"user_id": carol.user_id, "reason": "noise"}
    for act in ("kick", "ban", "unban"):
        assert await bob.refused("POST", f"/v3/rooms/{room}/{act}", whom) == (403, "M_FORBIDDEN")
    await alice.post(f"/v3/rooms/{room}/kick", whom)
    assert await membership(alice, room, carol) == "leave"
    assert await alice.refused("POST", f"/v3/rooms/{room}/kick", whom) == (403, "M_FORBIDDEN")
    await alice.post(f"/v3/rooms/{room}/ban", whom)
    assert await carol.refused("POST", f"/v3/rooms/{room}/join") == (403, "M_FORBIDDEN")
    assert await carol.refused("POST", f"/v3/rooms/{room}/leave") == (403, "M_FORBIDDEN")
    assert await alice.refused("POST", f"/v3/rooms/{room}/kick", whom) == (403, "M_FORBIDDEN")
    await alice.post(f"/v3/rooms/{room}/unban", whom)
    assert await alice.refused("POST", f"/v3/rooms/{room}/unban", whom) == (403, "M_BAD_STATE")
    await carol.join(room)


async def test_a_room_is_forgotten_only_after_leaving(alice: Person, bob: Person) -> None:
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    assert await bob.refused("POST", f"/v3/rooms/{room}/forget") == (400, "M_UNKNOWN")
    await bob.post(f"/v3/rooms/{room}/leave")
    await bob.get(f"/v3/rooms/{room}/messages?dir=b")
    await bob.post(f"/v3/rooms/{room}/forget")
    assert await bob.refused("GET", f"/v3/rooms/{room}/messages?dir=b") == (403, "M_FORBIDDEN")
    await bob.join(room)
    await bob.get(f"/v3/rooms/{room}/messages?dir=b")


async def test_knocking_asks_for_an_invitation(alice: Person, bob: Person) -> None:
    room = await alice.create_room(initial_state=[{"type": "m.room.join_rules", "content": {"join_rule": "knock"}}])
    assert await bob.post(f"/v3/knock/{room}", {"reason": "tea?"}) == {"room_id": room}
    assert (await alice.state(room, "m.room.member", bob.user_id))["reason"] == "tea?"
    await alice.invite(room, bob)
    await bob.join(room)
    assert await bob.refused("POST", f"/v3/knock/{room}") == (403, "M_FORBIDDEN")


async def test_a_knock_can_be_taken_back(alice: Person, bob: Person) -> None:
    room = await alice.create_room(initial_state=[{"type": "m.room.join_rules", "content": {"join_rule": "knock"}}])
    await bob.post(f"/v3/knock/{room}")
    await bob.post(f"/v3/rooms/{room}/leave")
    assert await membership(alice, room, bob) == "leave"


async def test_knocking_needs_the_right_rule(alice: Person, bob: Person) -> None:
    assert await bob.refused("POST", f"/v3/knock/{await alice.create_room()}") == (403, "M_FORBIDDEN")
    assert await bob.refused("POST", f"/v3/knock/{await alice.create_room(room_version='6')}") == (403, "M_FORBIDDEN")
    assert await bob.refused("POST", "/v3/knock/!nothing:hs.test") == (404, "M_NOT_FOUND")


@pytest.mark.parametrize("version", ["8", "12"])
async def test_members_of_another_room_join_a_restricted_one(
    alice: Person, bob: Person, carol: Person, version: str
) -> None:
    club = await alice.create_room(preset="public_chat")
    await bob.join(club)
    rule = {"join_rule": "restricted", "allow": [{"type": "m.room_membership", "room_id": club}, {"type": "x"}, 1]}
    room = await alice.create_room(room_version=version, initial_state=[{"type": "m.room.join_rules", "content": rule}])
    await bob.join(room)
    member = await bob.state(room, "m.room.member", bob.user_id)
    assert member["join_authorised_via_users_server"] == alice.user_id
    assert await carol.refused("POST", f"/v3/rooms/{room}/join") == (403, "M_FORBIDDEN")
    await alice.invite(room, carol)
    await carol.join(room)


async def test_member_events_set_as_state_follow_the_same_rules(alice: Person, bob: Person, carol: Person) -> None:
    room = await alice.create_room()
    path = f"/v3/rooms/{room}/state/m.room.member"
    assert await bob.refused("PUT", f"{path}/{bob.user_id}", {"membership": "join"}) == (403, "M_FORBIDDEN")
    await alice.put(f"{path}/{bob.user_id}", {"membership": "invite"})
    assert await alice.refused("PUT", f"{path}/{bob.user_id}", {"membership": "join"}) == (403, "M_FORBIDDEN")
    await bob.put(f"{path}/{bob.user_id}", {"membership": "join", "displayname": "B"})
    assert (await alice.state(room, "m.room.member", bob.user_id))["displayname"] == "B"
    remote = {"membership": "invite"}
    assert await alice.refused("PUT", f"{path}/@x:elsewhere.test", remote) == (403, "M_FORBIDDEN")
    assert await alice.refused("PUT", f"{path}/{carol.user_id}", {"membership": "boss"}) == (400, "M_BAD_JSON")
    assert await alice.refused("PUT", f"{path}/nobody", {"membership": "ban"}) == (400, "M_INVALID_PARAM")
    await alice.put(f"{path}/{bob.user_id}", {"membership": "ban"})
    assert await membership(alice, room, bob) == "ban"


async def test_those_who_block_invitations_are_not_invited(alice: Person, bob: Person) -> None:
    await bob.set_account_data("m.invite_permission_config", {"default_action": "block"})
    room = await alice.create_room()
    refusal = await alice.refused("POST", f"/v3/rooms/{room}/invite", {"user_id": bob.user_id})
    assert refusal == (403, "M_INVITE_BLOCKED")


async def test_guests_join_only_where_guests_may(alice: Person, guest: Person) -> None:
    closed = await alice.create_room(preset="public_chat")
    assert await guest.refused("POST", f"/v3/rooms/{closed}/join") == (403, "M_GUEST_ACCESS_FORBIDDEN")
    await alice.put(f"/v3/rooms/{closed}/state/m.room.guest_access", {"guest_access": "can_join"})
    await guest.join(closed)


async def test_rooms_that_are_not_here_cannot_be_joined(alice: Person) -> None:
    assert await alice.refused("POST", "/v3/join/!x:elsewhere.test") == (404, "M_NOT_FOUND")
    assert await alice.refused("POST", "/v3/join/%23x:elsewhere.test") == (404, "M_NOT_FOUND")
    assert await alice.refused("POST", "/v3/join/x") == (400, "M_INVALID_PARAM")
    assert await alice.refused("POST", "/v3/rooms/x/invite", {}) == (400, "M_MISSING_PARAM")
