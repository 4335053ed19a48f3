"""The homeserver in memory and the real one answer alike: every test here is run with both."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import trio
import trio.testing

from tests.clients.either_server import EitherServer
from tricord.clients import Client, Refused, SignedOut
from tricord.clients.testing import PASSWORD, Person
from tricord.protocol.identifiers import EventId, RoomAlias, RoomId, UserId


def texts(timeline: dict[str, Any]) -> list[str]:
    return [event["content"].get("body") for event in timeline["events"] if event["type"] == "m.room.message"]


def refusal(refused: pytest.ExceptionInfo[Refused]) -> tuple[int, str]:
    return refused.value.status, refused.value.errcode


async def joined_room(alice: Person, *others: Person, **options: Any) -> RoomId:
    room_id = await alice.create_room(invite=[other.user_id for other in others], **options)
    for other in others:
        await other.join(room_id)
    return room_id


async def test_who_registers_is_signed_in(server: EitherServer) -> None:
    alice = await server.user("alice")
    answer = await alice.whoami()
    assert (answer.user_id, answer.device_id) == ("@alice:localhost", alice.device_id)
    assert not answer.is_guest
    assert await alice.is_available("bob")
    assert not await alice.is_available("alice")


@pytest.mark.parametrize(("name", "errcode"), [("alice", "M_USER_IN_USE"), ("a b", "M_INVALID_USERNAME")])
async def test_names_that_nobody_can_have(server: EitherServer, name: str, errcode: str) -> None:
    alice = await server.user("alice")
    with pytest.raises(Refused) as refused:
        await alice.register(name, PASSWORD)
    assert refusal(refused) == (400, errcode)


async def test_a_wrong_password_does_not_let_in(server: EitherServer) -> None:
    alice = await server.user("alice")
    with pytest.raises(Refused) as refused:
        await alice.login("alice", "wrong")
    assert refusal(refused) == (403, "M_FORBIDDEN")


async def test_signing_in_again_as_the_same_device_ends_its_session_of_before(server: EitherServer) -> None:
    alice = await server.user("alice")
    async with Client(server.url, transport=server.transport) as again:
        await again.login(alice.user_id, PASSWORD, device_id=alice.device_id)
        assert (await again.whoami()).device_id == alice.device_id
    with pytest.raises(SignedOut):
        await alice.whoami()


async def test_after_signing_out_the_token_is_nothing(server: EitherServer) -> None:
    alice = await server.user("alice")
    token = alice.access_token
    await alice.logout()
    assert alice.session is None
    async with Client(server.url, access_token=token, transport=server.transport) as ghost:
        with pytest.raises(SignedOut) as refused:
            await ghost.whoami()
    assert refusal(refused) == (401, "M_UNKNOWN_TOKEN")
    assert not refused.value.soft


async def test_without_a_token_nothing_is_told(server: EitherServer) -> None:
    async with Client(server.url, transport=server.transport) as nobody:
        with pytest.raises(Refused) as refused:
            await nobody.joined_rooms()
    assert refusal(refused) == (401, "M_MISSING_TOKEN")


@pytest.mark.parametrize(
    ("method", "path", "content", "status", "errcode"),
    [
        ("GET", "/_matrix/client/v3/nonsense", None, 404, "M_UNRECOGNIZED"),
        ("DELETE", "/_matrix/client/v3/joined_rooms", None, 405, "M_UNRECOGNIZED"),
        ("POST", "/_matrix/client/v3/createRoom", b"{", 400, "M_NOT_JSON"),
        ("POST", "/_matrix/client/v3/createRoom", b'{"invite": 1}', 400, "M_BAD_JSON"),
        ("POST", "/_matrix/client/v3/login", b"{}", 400, "M_MISSING_PARAM"),
        ("GET", "/_matrix/client/v3/sync?timeout=x", None, 400, "M_INVALID_PARAM"),
        ("GET", "/_matrix/client/r0/account/whoami", None, 200, None),
    ],
)
async def test_requests_are_checked(
    server: EitherServer, method: str, path: str, content: bytes | None, status: int, errcode: str | None
) -> None:
    alice = await server.user("alice")
    async with httpx.AsyncClient(transport=server.transport) as client:
        headers = {"Authorization": f"Bearer {alice.access_token}", "Content-Type": "application/json"}
        answer = await client.request(method, server.url + path, content=content, headers=headers)
    assert (answer.status_code, answer.json().get("errcode")) == (status, errcode)


async def test_a_new_room_has_what_its_creator_wanted(server: EitherServer) -> None:
    alice = await server.user("alice")
    room_id = await alice.create_room(
        name="Tea",
        topic="And cake",
        alias="tea",
        initial_state=[{"type": "m.room.guest_access", "content": {"guest_access": "forbidden"}}],
    )
    assert await alice.state(room_id, "m.room.name") == {"name": "Tea"}
    topic = await alice.state(room_id, "m.room.topic")
    assert topic is not None
    assert topic["topic"] == "And cake"
    assert await alice.state(room_id, "m.room.join_rules") == {"join_rule": "invite"}
    assert await alice.state(room_id, "m.room.guest_access") == {"guest_access": "forbidden"}
    assert await alice.state(room_id, "m.room.canonical_alias") == {"alias": "#tea:localhost"}
    assert await alice.state(room_id, "m.room.avatar") is None
    assert sorted(event["type"] for event in await alice.full_state(room_id)) == [
        "m.room.canonical_alias",
        "m.room.create",
        "m.room.guest_access",
        "m.room.history_visibility",
        "m.room.join_rules",
        "m.room.member",
        "m.room.name",
        "m.room.power_levels",
        "m.room.topic",
    ]
    assert (await alice.resolve_alias(RoomAlias("#tea:localhost"))).room_id == room_id
    with pytest.raises(Refused) as refused:
        await alice.create_room(alias="tea")
    assert refusal(refused) == (400, "M_ROOM_IN_USE")


@pytest.mark.parametrize("version", ["1", "6", "10", "11", "12"])
async def test_people_talk_in_rooms_of_every_age(server: EitherServer, version: str) -> None:
    alice, bob = await server.user("alice"), await server.user("bob")
    room_id = await joined_room(alice, bob, room_version=version)
    said = await bob.send_text(room_id, "Hello")
    assert (await alice.event(room_id, said))["content"]["body"] == "Hello"
    await alice.redact(room_id, said, reason="no greetings")
    redacted = await bob.event(room_id, said)
    assert redacted["content"] == {}
    assert redacted["unsigned"]["redacted_because"]["content"]["reason"] == "no greetings"


async def test_only_those_who_are_in_the_room_speak(server: EitherServer) -> None:
    alice, bob = await server.user("alice"), await server.user("bob")
    room_id = await alice.create_room()
    for forbidden in (bob.send_text(room_id, "Hello"), bob.join(room_id), bob.members(room_id), bob.messages(room_id)):
        with pytest.raises(Refused) as refused:
            await forbidden
        assert refusal(refused) == (403, "M_FORBIDDEN")


async def test_an_invitation_shows_a_little_of_the_room_and_lets_in(server: EitherServer) -> None:
    alice, bob = await server.user("alice"), await server.user("bob")
    room_id = await alice.create_room(name="Tea")
    since = (await bob.sync())["next_batch"]
    await alice.invite(room_id, bob.user_id, reason="there is cake")
    told = await bob.sync(since=since, timeout_seconds=10)
    state = told["rooms"]["invite"][room_id]["invite_state"]["events"]
    shown = {(event["type"], event["state_key"]): event for event in state}
    assert shown["m.room.name", ""]["content"] == {"name": "Tea"}
    invitation = shown["m.room.member", "@bob:localhost"]
    assert (invitation["sender"], invitation["content"]["membership"]) == ("@alice:localhost", "invite")
    assert invitation["content"]["reason"] == "there is cake"
    assert await bob.join(room_id) == room_id
    told = await bob.sync(since=told["next_batch"], timeout_seconds=10)
    assert list(told["rooms"]) == ["join"]
    assert await bob.joined_rooms() == [room_id]
    assert {event["state_key"] for event in await bob.members(room_id, membership="join")} == {
        alice.user_id,
        bob.user_id,
    }
    assert set(await bob.joined_members(room_id)) == {alice.user_id, bob.user_id}


async def test_people_join_public_rooms_by_alias(server: EitherServer) -> None:
    alice, bob = await server.user("alice"), await server.user("bob")
    room_id = await alice.create_room(preset="public_chat")
    alias = RoomAlias("#square:localhost")
    await alice.set_alias(alias, room_id)
    assert await bob.join(alias) == room_id
    assert await bob.aliases(room_id) == [alias]
    with pytest.raises(Refused) as refused:
        await bob.set_alias(alias, room_id)
    assert refusal(refused)[0] == 409
    await alice.delete_alias(alias)
    with pytest.raises(Refused) as refused:
        await bob.join(alias)
    assert refusal(refused) == (404, "M_NOT_FOUND")


async def test_people_leave_are_kicked_and_are_banned(server: EitherServer) -> None:
    alice, bob = await server.user("alice"), await server.user("bob")
    room_id = await joined_room(alice, bob)
    since = (await bob.sync())["next_batch"]
    await alice.kick(room_id, bob.user_id, reason="bad manners")
    told = await bob.sync(since=since, timeout_seconds=10)
    gone = told["rooms"]["leave"][room_id]["timeline"]["events"][-1]
    assert gone["content"] == {"membership": "leave", "reason": "bad manners"}
    assert gone["unsigned"]["prev_content"]["membership"] == "join"
    await alice.invite(room_id, bob.user_id)
    await bob.leave(room_id)
    await alice.ban(room_id, bob.user_id)
    for refused_call in (bob.join(room_id), alice.invite(room_id, bob.user_id), bob.kick(room_id, alice.user_id)):
        with pytest.raises(Refused) as refused:
            await refused_call
        assert refusal(refused) == (403, "M_FORBIDDEN")
    await alice.unban(room_id, bob.user_id)
    await alice.invite(room_id, bob.user_id)
    await bob.join(room_id)
    await bob.leave(room_id)
    await bob.forget(room_id)
    with pytest.raises(Refused):
        await bob.messages(room_id)


async def test_people_knock_where_that_is_the_way_in(server: EitherServer) -> None:
    alice, bob = await server.user("alice"), await server.user("bob")
    rule = {"type": "m.room.join_rules", "content": {"join_rule": "knock"}}
    room_id = await alice.create_room(initial_state=[rule])
    await bob.knock(room_id, reason="it is me")
    assert room_id in (await bob.sync())["rooms"]["knock"]
    await alice.invite(room_id, bob.user_id)
    await bob.join(room_id)
    assert room_id in await bob.joined_rooms()


async def test_a_message_sent_twice_with_one_transaction_id_is_one_message(server: EitherServer) -> None:
    alice = await server.user("alice")
    room_id = await alice.create_room()
    content = {"msgtype": "m.text", "body": "once"}
    sent = [await alice.send(room_id, "m.room.message", content, transaction_id="t") for _ in range(2)]
    assert sent[0] == sent[1]
    timeline = (await alice.sync())["rooms"]["join"][room_id]["timeline"]
    assert texts(timeline) == ["once"]
    assert timeline["events"][-1]["unsigned"]["transaction_id"] == "t"
    async with Client(server.url, transport=server.transport) as other_device:
        await other_device.login("alice", PASSWORD)
        seen = await other_device.event(room_id, sent[0])
        assert "transaction_id" not in seen["unsigned"]
        assert await other_device.send(room_id, "m.room.message", content, transaction_id="t") != sent[0]


async def test_setting_the_same_state_again_makes_no_event(server: EitherServer) -> None:
    alice = await server.user("alice")
    room_id = await alice.create_room()
    first = await alice.set_state(room_id, "m.room.name", {"name": "Tea"})
    assert await alice.set_state(room_id, "m.room.name", {"name": "Tea"}) == first
    assert await alice.set_state(room_id, "m.room.name", {"name": "Cake"}) != first


async def test_members_without_the_power_change_nothing(server: EitherServer) -> None:
    alice, bob = await server.user("alice"), await server.user("bob")
    room_id = await joined_room(alice, bob)
    said = await alice.send_text(room_id, "mine")
    for refused_call in (
        bob.set_state(room_id, "m.room.name", {"name": "Bob's"}),
        bob.redact(room_id, said),
        bob.kick(room_id, alice.user_id),
        bob.set_state(room_id, "m.room.member", {"membership": "join", "displayname": "Fool"}, alice.user_id),
    ):
        with pytest.raises(Refused) as refused:
            await refused_call
        assert refusal(refused) == (403, "M_FORBIDDEN")
    own = await bob.send_text(room_id, "oops")
    await bob.redact(room_id, own)
    assert (await alice.event(room_id, own))["content"] == {}


async def test_floats_and_oversized_events_are_refused(server: EitherServer) -> None:
    alice = await server.user("alice")
    room_id = await alice.create_room()
    with pytest.raises(Refused) as refused:
        await alice.send(room_id, "m.room.message", {"number": 1.5})
    assert refusal(refused) == (400, "M_BAD_JSON")
    with pytest.raises(Refused) as refused:
        await alice.send_text(room_id, "x" * 70_000)
    assert refusal(refused) == (413, "M_TOO_LARGE")


async def test_history_is_read_page_by_page(server: EitherServer) -> None:
    alice = await server.user("alice")
    room_id = await alice.create_room()
    for number in range(7):
        await alice.send_text(room_id, str(number))
    backward: list[str] = []
    start = None
    for _ in range(20):
        page = await alice.messages(room_id, start=start, limit=3)
        assert len(page.chunk) <= 3
        backward += [event["content"]["body"] for event in page.chunk if event["type"] == "m.room.message"]
        start = page.end
        if start is None:
            break
    assert backward == ["6", "5", "4", "3", "2", "1", "0"]
    forward = await alice.messages(
        room_id, direction="f", limit=100, event_filter={"types": ["m.room.message"], "not_senders": ["@bob:localhost"]}
    )
    assert [event["content"]["body"] for event in forward.chunk] == ["0", "1", "2", "3", "4", "5", "6"]
    context = await alice.context(room_id, forward.chunk[3]["event_id"], limit=2)
    assert context.event["content"]["body"] == "3"
    assert [event["content"]["body"] for event in context.events_before] == ["2"]
    assert [event["content"]["body"] for event in context.events_after] == ["4"]


async def test_a_filter_is_for_what_is_around_an_event_and_for_the_state(server: EitherServer) -> None:
    alice = await server.user("alice")
    room_id = await alice.create_room(name="Tea")
    said = [await alice.send_text(room_id, str(number)) for number in range(7)]

    async def around(**wanted: Any) -> tuple[list[str], list[str], set[str]]:
        found = await alice.context(room_id, said[3], limit=4, event_filter=wanted)
        assert found.event["event_id"] == said[3]
        before, after = (
            [event["content"].get("body") for event in e] for e in (found.events_before, found.events_after)
        )
        return before, after, {event["type"] for event in found.state}

    before, after, state = await around(limit=2)
    assert (before, after) == (["2"], ["4"])
    assert {"m.room.create", "m.room.name", "m.room.member"} <= state
    assert await around(limit=10, types=["m.room.name", "m.room.message"]) == (["2", "1"], ["4", "5"], {"m.room.name"})
    assert (await around(rooms=[room_id]))[:2] == (["2", "1"], ["4", "5"])
    for elsewhere in ({"rooms": ["!elsewhere:localhost"]}, {"not_rooms": [room_id]}):
        assert await around(**elsewhere) == ([], [], set())
    page = await alice.messages(room_id, event_filter={"limit": 2})
    assert [event["event_id"] for event in page.chunk] == [said[6], said[5]]


async def test_a_gap_in_the_timeline_is_filled_from_the_history(server: EitherServer) -> None:
    alice, bob = await server.user("alice"), await server.user("bob")
    room_id = await joined_room(alice, bob)
    await alice.send_text(room_id, "seen")
    since = (await bob.sync())["next_batch"]
    for number in range(15):
        await alice.send_text(room_id, str(number))
    timeline = (await bob.sync(since=since))["rooms"]["join"][room_id]["timeline"]
    assert timeline["limited"]
    assert texts(timeline) == [str(number) for number in range(5, 15)]
    page = await bob.messages(room_id, start=timeline["prev_batch"], end=since, limit=100)
    assert [event["content"]["body"] for event in page.chunk] == ["4", "3", "2", "1", "0"]
    assert page.end is None


async def test_a_sync_waits_for_something_to_happen(server: EitherServer) -> None:
    alice, bob = await server.user("alice"), await server.user("bob")
    room_id = await joined_room(alice, bob)
    since = (await bob.sync())["next_batch"]
    # To begin with, they may be told that they are there themselves.
    since = (await bob.sync(since=since))["next_batch"]
    told: dict[str, Any] = {}

    async def wait() -> None:
        told.update(await bob.sync(since=since, timeout_seconds=20))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked(0.02)
        assert not told
        await alice.send_text(room_id, "Hello")
    assert texts(told["rooms"]["join"][room_id]["timeline"]) == ["Hello"]
    assert "state" not in told["rooms"]["join"][room_id] or not told["rooms"]["join"][room_id]["state"]["events"]


async def test_a_position_that_was_never_given_out_is_refused(server: EitherServer) -> None:
    alice = await server.user("alice")
    for position in ("nonsense", "s999999", "s1_999999"):
        with pytest.raises(Refused) as refused:
            await alice.sync(since=position)
        assert refusal(refused) == (400, "M_INVALID_PARAM")


async def test_the_first_sync_tells_the_state_before_the_timeline(server: EitherServer) -> None:
    alice, bob = await server.user("alice"), await server.user("bob")
    room_id = await joined_room(alice, bob, name="Tea")
    for number in range(12):
        await alice.send_text(room_id, str(number))
    room = (await bob.sync(sync_filter={"room": {"timeline": {"limit": 4}}}))["rooms"]["join"][room_id]
    assert texts(room["timeline"]) == ["8", "9", "10", "11"]
    assert room["timeline"]["limited"]
    assert {event["type"] for event in room["state"]["events"]} >= {"m.room.create", "m.room.name", "m.room.member"}
    assert room["summary"]["m.joined_member_count"] == 2
    lazy = {"room": {"timeline": {"limit": 4}, "state": {"lazy_load_members": True}}}
    room = (await bob.sync(sync_filter=lazy))["rooms"]["join"][room_id]
    members = [event["state_key"] for event in room["state"]["events"] if event["type"] == "m.room.member"]
    assert alice.user_id in members


async def test_stored_filters_are_used_by_their_id(server: EitherServer) -> None:
    alice = await server.user("alice")
    room_id = await alice.create_room()
    await alice.send_text(room_id, "Hello")
    definition = {"room": {"timeline": {"types": ["m.room.message"]}, "state": {"types": []}}}
    filter_id = await alice.create_filter(definition)
    assert await alice.get_filter(filter_id) == definition
    room = (await alice.sync(sync_filter=filter_id))["rooms"]["join"][room_id]
    assert [event["type"] for event in room["timeline"]["events"]] == ["m.room.message"]
    assert not room.get("state", {}).get("events")
    with pytest.raises(Refused) as refused:
        await alice.sync(sync_filter="9999")
    assert refusal(refused) == (400, "M_INVALID_PARAM")
    with pytest.raises(Refused) as refused:
        await alice.create_filter({"room": 1})
    assert refusal(refused) == (400, "M_BAD_JSON")


async def test_a_filter_without_members_tells_how_many_there_are(server: EitherServer) -> None:
    alice, bob = await server.user("alice"), await server.user("bob")
    room_id = await joined_room(alice, name="Tea")
    messages: dict[str, Any] = {"types": ["m.room.message"]}
    nothing_else: dict[str, Any] = {"types": []}
    wanted = {"presence": nothing_else, "room": {"timeline": messages, "state": nothing_else}}
    since = (await alice.sync(sync_filter=wanted))["next_batch"]

    async def counts() -> tuple[int, int]:
        nonlocal since
        told = await alice.sync(since=since, sync_filter=wanted, timeout_seconds=10)
        since = told["next_batch"]
        room = told["rooms"]["join"][room_id]
        assert not room.get("timeline", {}).get("events")
        assert not room.get("state", {}).get("events")
        return room["summary"]["m.joined_member_count"], room["summary"]["m.invited_member_count"]

    await alice.invite(room_id, bob.user_id)
    assert await counts() == (1, 1)
    await bob.join(room_id)
    assert await counts() == (2, 0)
    await bob.leave(room_id)
    assert await counts() == (1, 0)


async def test_who_types_is_seen_typing_until_they_stop(server: EitherServer) -> None:
    alice, bob = await server.user("alice"), await server.user("bob")
    room_id = await joined_room(alice, bob)
    since = (await bob.sync())["next_batch"]

    async def typing() -> list[str]:
        nonlocal since
        told = await bob.sync(since=since, timeout_seconds=10)
        since = told["next_batch"]
        (event,) = told["rooms"]["join"][room_id]["ephemeral"]["events"]
        assert event["type"] == "m.typing"
        return list(event["content"]["user_ids"])

    await alice.set_typing(room_id)
    assert await typing() == [alice.user_id]
    await alice.set_typing(room_id, typing_now=False)
    assert await typing() == []
    with pytest.raises(Refused):
        await bob.set_typing(RoomId("!nowhere:localhost"))


async def test_receipts_are_shown_and_do_not_go_back(server: EitherServer) -> None:
    alice, bob = await server.user("alice"), await server.user("bob")
    room_id = await joined_room(alice, bob)
    first, second = await alice.send_text(room_id, "1"), await alice.send_text(room_id, "2")
    since = (await alice.sync())["next_batch"]
    await bob.mark_read(room_id, second)
    told = await alice.sync(since=since, timeout_seconds=10)
    (event,) = told["rooms"]["join"][room_id]["ephemeral"]["events"]
    assert event["type"] == "m.receipt"
    assert list(event["content"][second]["m.read"]) == [bob.user_id]
    await bob.mark_read(room_id, first)
    assert (await alice.sync(since=told["next_batch"]))["next_batch"] == told["next_batch"]
    await bob.mark_read(room_id, second, private=True)
    await bob.set_read_markers(room_id, fully_read=second)
    assert await bob.account_data("m.fully_read", room_id=room_id) == {"event_id": second}
    assert (await alice.sync(since=told["next_batch"])).get("rooms", {}) == {}


async def test_account_data_is_kept_and_told(server: EitherServer) -> None:
    alice = await server.user("alice")
    room_id = await alice.create_room()
    since = (await alice.sync())["next_batch"]
    await alice.set_account_data("org.example.note", {"text": "for all"})
    await alice.set_account_data("org.example.note", {"text": "for one"}, room_id=room_id)
    assert await alice.account_data("org.example.note") == {"text": "for all"}
    assert await alice.account_data("org.example.note", room_id=room_id) == {"text": "for one"}
    assert await alice.account_data("org.example.other") is None
    told = await alice.sync(since=since)
    assert told["account_data"]["events"] == [{"type": "org.example.note", "content": {"text": "for all"}}]
    of_room = told["rooms"]["join"][room_id]["account_data"]["events"]
    assert of_room == [{"type": "org.example.note", "content": {"text": "for one"}}]


async def test_profiles_are_seen_in_rooms(server: EitherServer) -> None:
    alice, bob = await server.user("alice"), await server.user("bob")
    room_id = await joined_room(alice, bob)
    await alice.set_profile("displayname", "Alice Liddell")
    assert (await bob.profile(alice.user_id))["displayname"] == "Alice Liddell"
    assert await bob.profile_field("displayname", alice.user_id) == "Alice Liddell"
    assert await bob.profile_field("avatar_url", alice.user_id) is None
    with trio.fail_after(60):
        while (await bob.joined_members(room_id))[alice.user_id].display_name != "Alice Liddell":
            await trio.lowlevel.checkpoint()
    with pytest.raises(Refused) as refused:
        await bob.profile(UserId("@nobody:localhost"))
    assert refusal(refused) == (404, "M_NOT_FOUND")


async def test_what_was_said_before_one_came_is_seen_only_where_that_is_shared(server: EitherServer) -> None:
    alice, bob = await server.user("alice"), await server.user("bob")
    joined_only = {"type": "m.room.history_visibility", "content": {"history_visibility": "joined"}}
    shared, closed = await alice.create_room(), await alice.create_room(initial_state=[joined_only])
    for room_id in (shared, closed):
        before = await alice.send_text(room_id, "before")
        await alice.invite(room_id, bob.user_id)
        await bob.join(room_id)
        await alice.send_text(room_id, "after")
        seen = [event["content"].get("body") for event in (await bob.messages(room_id)).chunk]
        assert ("before" in seen, "after" in seen) == (room_id == shared, True)
        if room_id == closed:
            with pytest.raises(Refused) as refused:
                await bob.event(room_id, before)
            assert refusal(refused) == (404, "M_NOT_FOUND")


async def test_what_is_not_there_is_not_found(server: EitherServer) -> None:
    alice = await server.user("alice")
    room_id = await alice.create_room()
    with pytest.raises(Refused) as refused:
        await alice.event(room_id, EventId("$" + "x" * 43))
    assert refusal(refused) == (404, "M_NOT_FOUND")
    with pytest.raises(Refused) as refused:
        await alice.redact(room_id, EventId("$" + "x" * 43))
    assert refusal(refused) == (404, "M_NOT_FOUND")


async def test_tokens_are_renewed_with_a_refresh_token(server: EitherServer) -> None:
    alice = await server.user("alice", refresh_token=True)
    before = alice.session
    await alice.refresh()
    assert before is not None
    assert alice.session is not None
    assert alice.session.access_token != before.access_token
    assert (await alice.whoami()).device_id == before.device_id
    bob = await server.user("bob")
    with pytest.raises(SignedOut):
        await bob.refresh()
