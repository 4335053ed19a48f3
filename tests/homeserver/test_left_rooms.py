"""Rooms that somebody has left: what they still read of them, how they forget them, and how they come back.

https://spec.matrix.org/v1.19/client-server-api/#leaving-rooms
"""

from __future__ import annotations

from typing import Any

import pytest

from tricord.clients import Client, Refused
from tricord.protocol.identifiers import EventId, RoomId

LEFT_TOO = {"room": {"include_leave": True, "timeline": {"limit": 50}}}


@pytest.fixture
async def room_id(alice: Client, bob: Client) -> RoomId:
    room_id = await alice.create_room(preset="public_chat")
    await alice.set_state(room_id, "m.room.topic", {"topic": "before"})
    await bob.join(room_id)
    return room_id


def bodies(events: list[dict[str, Any]]) -> list[str]:
    return [event["content"]["body"] for event in events if event["type"] == "m.room.message"]


def section(answer: dict[str, Any], membership: str) -> dict[str, Any]:
    return dict(answer.get("rooms", {}).get(membership, {}))


async def all_rooms(client: Client) -> dict[str, Any]:
    return section(await client.sync(sync_filter=LEFT_TOO), "leave")


async def left(alice: Client, bob: Client, room_id: RoomId) -> tuple[EventId, EventId]:
    """Let bob leave between two messages, and much change afterwards; return the messages."""
    before = await alice.send_text(room_id, "while you are here")
    await bob.leave(room_id)
    after = await alice.send_text(room_id, "now that he is gone")
    await alice.set_state(room_id, "m.room.topic", {"topic": "after"})
    return before, after


async def refused(ask: Any) -> tuple[int, str]:
    with pytest.raises(Refused) as refusal:
        await ask
    return refusal.value.status, refusal.value.errcode


async def test_a_left_room_is_shown_to_those_who_want_it_as_it_was_then(
    alice: Client, bob: Client, room_id: RoomId
) -> None:
    await bob.set_tag(room_id, "m.favourite", order=0.5)
    await left(alice, bob, room_id)
    assert section(await bob.sync(), "leave") == {}
    room = (await all_rooms(bob))[room_id]
    timeline, state = room["timeline"]["events"], room["state"]["events"]
    assert bodies(timeline) == ["while you are here"]
    assert (timeline[-1]["type"], timeline[-1]["content"]) == ("m.room.member", {"membership": "leave"})
    assert {"topic": "before"} in [event["content"] for event in (*state, *timeline)]
    assert {"topic": "after"} not in [event["content"] for event in (*state, *timeline)]
    assert room["account_data"]["events"][0]["content"] == {"tags": {"m.favourite": {"order": 0.5}}}
    assert "ephemeral" not in room
    assert "unread_notifications" not in room


async def test_whoever_left_reads_up_to_then_by_every_way(alice: Client, bob: Client, room_id: RoomId) -> None:
    before, after = await left(alice, bob, room_id)
    page = await bob.messages(room_id, limit=50)
    assert bodies(page.chunk) == ["while you are here"]
    assert page.chunk[0]["content"] == {"membership": "leave"}
    forward = await bob.messages(room_id, direction="f", limit=50)
    assert bodies(forward.chunk) == ["while you are here"]
    assert await bob.state(room_id, "m.room.topic") == {"topic": "before"}
    assert {"topic": "before"} in [event["content"] for event in await bob.full_state(room_id)]
    members = {event["state_key"]: event["content"]["membership"] for event in await bob.members(room_id)}
    assert members == {alice.user_id: "join", bob.user_id: "leave"}
    context = await bob.context(room_id, before)
    assert [event["content"] for event in context.events_after] == [{"membership": "leave"}]
    assert {"topic": "before"} in [event["content"] for event in context.state]
    assert (await bob.event(room_id, before))["content"]["body"] == "while you are here"
    assert await refused(bob.event(room_id, after)) == (404, "M_NOT_FOUND")
    assert await refused(bob.context(room_id, after)) == (404, "M_NOT_FOUND")
    assert await refused(bob.joined_members(room_id)) == (403, "M_FORBIDDEN")
    assert await refused(bob.send_text(room_id, "still here?")) == (403, "M_FORBIDDEN")
    assert (await bob.search("here"))["count"] == 1
    peeked = await bob.peek(room_id)
    assert peeked.membership == "leave"
    assert bodies(peeked.messages.chunk) == ["while you are here"]


async def test_members_who_come_later_are_not_shown_to_who_has_left(
    alice: Client, bob: Client, carol: Client, room_id: RoomId
) -> None:
    await bob.leave(room_id)
    await carol.join(room_id)
    members = {event["state_key"] for event in await bob.members(room_id)}
    assert members == {alice.user_id, bob.user_id}
    assert await bob.state(room_id, "m.room.member", carol.user_id) is None


@pytest.mark.parametrize("how", ["kick", "ban"])
async def test_whoever_is_put_out_is_told_and_reads_up_to_then(
    alice: Client, bob: Client, room_id: RoomId, how: str
) -> None:
    since = (await bob.sync())["next_batch"]
    await getattr(alice, how)(room_id, bob.user_id, reason="enough")
    await alice.send_text(room_id, "now that he is gone")
    told = section(await bob.sync(since=since), "leave")[room_id]["timeline"]["events"]
    membership = "ban" if how == "ban" else "leave"
    assert told[-1]["content"] == {"membership": membership, "reason": "enough"}
    assert bodies(told) == []
    shown = (await all_rooms(bob))[room_id]["timeline"]["events"]
    assert shown[-1]["content"]["membership"] == membership
    assert [old["membership"] for old in (await bob.initial_sync(archived=True)).rooms] == [membership]
    assert await bob.state(room_id, "m.room.topic") == {"topic": "before"}
    assert bodies((await bob.messages(room_id, limit=50)).chunk) == []


async def test_a_lifted_ban_shows_no_more_than_the_ban(alice: Client, bob: Client, room_id: RoomId) -> None:
    await alice.ban(room_id, bob.user_id)
    await alice.send_text(room_id, "while he is banned")
    since = (await bob.sync())["next_batch"]
    await alice.unban(room_id, bob.user_id)
    told = section(await bob.sync(since=since), "leave")[room_id]["timeline"]["events"]
    assert [event["content"]["membership"] for event in told] == ["leave"]
    assert bodies((await bob.messages(room_id, limit=50)).chunk) == []
    room = (await all_rooms(bob))[room_id]
    assert bodies(room["timeline"]["events"]) == []


async def test_a_declined_invitation_is_a_room_never_seen(alice: Client, bob: Client) -> None:
    room_id = await alice.create_room(name="Secret", invite=[bob.user_id])
    since = (await bob.sync())["next_batch"]
    await bob.leave(room_id)
    told = section(await bob.sync(since=since), "leave")[room_id]
    assert [event["content"] for event in told["timeline"]["events"]] == [{"membership": "leave"}]
    for room in (told, (await all_rooms(bob))[room_id]):
        events = [*room["timeline"]["events"], *room.get("state", {}).get("events", [])]
        assert {event["type"] for event in events} == {"m.room.member"}
        assert {event["state_key"] for event in events} == {bob.user_id}
    assert await refused(bob.full_state(room_id)) == (403, "M_FORBIDDEN")
    assert await refused(bob.messages(room_id)) == (403, "M_FORBIDDEN")


async def test_a_forgotten_room_is_as_if_it_never_was(alice: Client, bob: Client, room_id: RoomId) -> None:
    before, _ = await left(alice, bob, room_id)
    since = (await bob.sync())["next_batch"]
    await bob.forget(room_id)
    await bob.forget(room_id)
    assert await all_rooms(bob) == {}
    assert section(await bob.sync(since=since, sync_filter=LEFT_TOO), "leave") == {}
    for ask in (
        bob.messages(room_id),
        bob.full_state(room_id),
        bob.members(room_id),
        bob.state(room_id, "m.room.topic"),
        bob.peek(room_id),
    ):
        assert await refused(ask) == (403, "M_FORBIDDEN")
    assert await refused(bob.event(room_id, before)) == (404, "M_NOT_FOUND")
    assert await refused(bob.context(room_id, before)) == (404, "M_NOT_FOUND")
    assert (await bob.search("here"))["count"] == 0
    assert (await bob.initial_sync(archived=True)).rooms == []


async def test_a_room_is_only_forgotten_once_it_is_left(alice: Client, bob: Client, room_id: RoomId) -> None:
    assert await refused(bob.forget(room_id)) == (400, "M_UNKNOWN")
    asked_in = await alice.create_room(invite=[bob.user_id])
    assert await refused(bob.forget(asked_in)) == (400, "M_UNKNOWN")
    await alice.ban(room_id, bob.user_id)
    await bob.forget(room_id)
    assert await all_rooms(bob) == {}


async def test_what_becomes_of_a_member_who_has_forgotten_the_room_is_not_told(
    alice: Client, bob: Client, room_id: RoomId
) -> None:
    await bob.leave(room_id)
    await bob.forget(room_id)
    since = (await bob.sync())["next_batch"]
    await alice.ban(room_id, bob.user_id)
    await alice.unban(room_id, bob.user_id)
    answer = await bob.sync(since=since, sync_filter=LEFT_TOO)
    assert section(answer, "leave") == {}
    assert await all_rooms(bob) == {}


async def test_whoever_is_invited_again_is_told_of_the_room_anew(alice: Client, bob: Client, room_id: RoomId) -> None:
    before, after = await left(alice, bob, room_id)
    await bob.forget(room_id)
    since = (await bob.sync())["next_batch"]
    await alice.invite(room_id, bob.user_id)
    answer = await bob.sync(since=since)
    assert room_id in section(answer, "invite")
    since = answer["next_batch"]
    await bob.join(room_id)
    room = section(await bob.sync(since=since, sync_filter=LEFT_TOO), "join")[room_id]
    assert bodies(room["timeline"]["events"]) == ["while you are here", "now that he is gone"]
    assert (await bob.event(room_id, before))["content"]["body"] == "while you are here"
    assert (await bob.event(room_id, after))["content"]["body"] == "now that he is gone"


async def test_whoever_declines_after_forgetting_sees_no_more_than_a_stranger(alice: Client, bob: Client) -> None:
    room_id = await alice.create_room(invite=[bob.user_id])
    await bob.join(room_id)
    before, _ = await left(alice, bob, room_id)
    await bob.forget(room_id)
    await alice.invite(room_id, bob.user_id)
    await bob.leave(room_id)
    await bob.forget(room_id)
    assert await refused(bob.event(room_id, before)) == (404, "M_NOT_FOUND")
    assert await refused(bob.messages(room_id)) == (403, "M_FORBIDDEN")


async def test_whoever_comes_back_sees_what_was_said_meanwhile_by_the_rooms_rule(
    alice: Client, bob: Client, room_id: RoomId
) -> None:
    await alice.set_state(room_id, "m.room.history_visibility", {"history_visibility": "joined"})
    before, after = await left(alice, bob, room_id)
    await bob.join(room_id)
    assert (await bob.event(room_id, before))["content"]["body"] == "while you are here"
    assert await refused(bob.event(room_id, after)) == (404, "M_NOT_FOUND")
    assert bodies((await bob.messages(room_id, limit=50)).chunk) == ["while you are here"]
