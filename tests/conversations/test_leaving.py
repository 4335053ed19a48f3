"""People leave rooms of another server, read on what they had, forget them, and are asked in again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.conversations.network import Network
from tests.conversations.towns import Town, heard, towns
from tests.postgres import PostgresServer
from tricord.clients import Client, Refused
from tricord.protocol.identifiers import EventId, RoomId

LEFT_TOO = {"room": {"include_leave": True, "timeline": {"limit": 50}}}
PATIENCE_SECONDS = 60


@pytest.fixture
async def north_and_south(postgres: PostgresServer, tmp_path: Path) -> AsyncIterator[list[Town]]:
    async with towns(postgres, tmp_path, Network(), north=["alice"], south=["bob", "carol"]) as found:
        yield found


@pytest.fixture
async def alice(north_and_south: list[Town]) -> Client:
    return north_and_south[0]["alice"]


@pytest.fixture
async def bob(north_and_south: list[Town]) -> Client:
    return north_and_south[1]["bob"]


@pytest.fixture
async def carol(north_and_south: list[Town]) -> Client:
    return north_and_south[1]["carol"]


def bodies(events: list[dict[str, Any]]) -> list[str]:
    return [event["content"]["body"] for event in events if event["type"] == "m.room.message"]


async def left_room(alice: Client, bob: Client, **how: Any) -> RoomId:
    """Let bob be in a room of alice's, and leave it."""
    room_id = await alice.create_room(preset="public_chat", **how)
    await alice.set_state(room_id, "m.room.topic", {"topic": "before"})
    await bob.join(room_id, via=["north.test"])
    await heard(bob, room_id, await alice.send_text(room_id, "while you are here"))
    await bob.leave(room_id)
    await seen_as(alice, room_id, bob, "leave")
    await alice.send_text(room_id, "now that he is gone")
    await alice.set_state(room_id, "m.room.topic", {"topic": "after"})
    return room_id


async def seen_as(viewer: Client, room_id: RoomId, other: Client, membership: str) -> None:
    with trio.fail_after(PATIENCE_SECONDS):
        while (await viewer.state(room_id, "m.room.member", other.user_id) or {}).get("membership") != membership:  # noqa: ASYNC110
            await trio.sleep(0.01)


async def told(viewer: Client, section: str, room_id: RoomId) -> dict[str, Any]:
    """Follow somebody's sync until a room is in a section of it."""
    since = None
    with trio.fail_after(PATIENCE_SECONDS):
        while True:
            answer = await viewer.sync(since=since, timeout_seconds=5)
            room: dict[str, Any] | None = answer.get("rooms", {}).get(section, {}).get(room_id)
            if room is not None:
                return room
            since = answer["next_batch"]


async def test_a_room_elsewhere_stays_as_it_was_for_the_last_who_left_it(alice: Client, bob: Client) -> None:
    room_id = await left_room(alice, bob)
    assert bodies((await bob.messages(room_id)).chunk) == ["while you are here"]
    assert await bob.state(room_id, "m.room.topic") == {"topic": "before"}
    members = {event["state_key"]: event["content"]["membership"] for event in await bob.members(room_id)}
    assert members == {alice.user_id: "join", bob.user_id: "leave"}
    left = (await bob.sync(sync_filter=LEFT_TOO))["rooms"]["leave"][room_id]
    assert bodies(left["timeline"]["events"]) == ["while you are here"]
    assert left["timeline"]["events"][-1]["content"] == {"membership": "leave"}


async def test_who_leaves_while_another_stays_reads_no_further(alice: Client, bob: Client, carol: Client) -> None:
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id, via=["north.test"])
    await carol.join(room_id)
    await bob.leave(room_id)
    await seen_as(alice, room_id, bob, "leave")
    said = await alice.send_text(room_id, "to those who stay")
    await heard(carol, room_id, said)
    assert bodies((await bob.messages(room_id)).chunk) == []
    with pytest.raises(Refused) as refusal:
        await bob.event(room_id, said)
    assert refusal.value.errcode == "M_NOT_FOUND"


async def test_a_forgotten_room_comes_back_with_an_invitation(alice: Client, bob: Client) -> None:
    room_id = await left_room(alice, bob, name="Square")
    await bob.forget(room_id)
    with pytest.raises(Refused):
        await bob.messages(room_id)
    await alice.invite(room_id, bob.user_id)
    state = (await told(bob, "invite", room_id))["invite_state"]["events"]
    assert {"name": "Square"} in [event["content"] for event in state]
    await bob.join(room_id)
    again = await alice.send_text(room_id, "Welcome back")
    await heard(bob, room_id, again)
    assert await bob.state(room_id, "m.room.topic") == {"topic": "after"}
    page = await bob.messages(room_id, limit=100)
    assert bodies(page.chunk) == ["Welcome back", "now that he is gone", "while you are here"]


async def test_an_invitation_that_is_taken_back_is_gone(alice: Client, bob: Client) -> None:
    room_id = await alice.create_room(preset="private_chat", invite=[bob.user_id])
    await told(bob, "invite", room_id)
    since = (await bob.sync())["next_batch"]
    await alice.kick(room_id, bob.user_id)
    with trio.fail_after(PATIENCE_SECONDS):
        while True:
            answer = await bob.sync(since=since, timeout_seconds=5)
            if room_id in answer.get("rooms", {}).get("leave", {}):
                break
            since = answer["next_batch"]
    assert "rooms" not in await bob.sync()


async def test_who_is_banned_elsewhere_sees_the_ban_and_nothing_after(
    alice: Client, bob: Client, carol: Client
) -> None:
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id, via=["north.test"])
    await carol.join(room_id)
    # Or, for the other server, nobody would be left where Bob was.
    await heard(alice, room_id, await carol.send_text(room_id, "I am here, too"))
    since = (await bob.sync())["next_batch"]
    await alice.ban(room_id, bob.user_id, reason="enough")
    said: EventId = await alice.send_text(room_id, "to those who stay")
    await heard(carol, room_id, said)
    room = (await bob.sync(since=since))["rooms"]["leave"][room_id]
    assert room["timeline"]["events"][-1]["content"] == {"membership": "ban", "reason": "enough"}
    assert bodies(room["timeline"]["events"]) == []
    with pytest.raises(Refused) as refusal:
        await bob.join(room_id, via=["north.test"])
    assert refusal.value.status == 403
