"""What passes between two servers: typing, receipts and presence; and what is said while the road is closed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import trio

from tests.conversations.network import Network
from tests.conversations.towns import Town, heard
from tests.servers import signed_in
from tricord.clients import Client
from tricord.protocol.identifiers import RoomId

_PATIENCE_SECONDS = 60


async def shared_room(alice: Client, bob: Client, through: Town) -> RoomId:
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id, via=[through.name])
    return room_id


async def sees(client: Client, found: Callable[[dict[str, Any]], bool]) -> None:
    """Follow a client's sync until it shows something."""
    since = None
    with trio.fail_after(_PATIENCE_SECONDS):
        while True:
            answer = await client.sync(since=since, timeout_seconds=5)
            since = answer["next_batch"]
            if found(answer):
                return


def passing(answer: dict[str, Any], room_id: RoomId, event_type: str) -> list[dict[str, Any]]:
    room = answer.get("rooms", {}).get("join", {}).get(room_id, {})
    return [event["content"] for event in room.get("ephemeral", {}).get("events", []) if event["type"] == event_type]


async def test_typing_is_seen_across_servers(both: list[Town]) -> None:
    north, south = both
    alice, bob = north["alice"], south["bob"]
    room_id = await shared_room(alice, bob, north)
    await alice.set_typing(room_id)
    await sees(bob, lambda answer: {"user_ids": [alice.user_id]} in passing(answer, room_id, "m.typing"))
    await bob.set_typing(room_id)
    await sees(
        alice, lambda answer: any(bob.user_id in one["user_ids"] for one in passing(answer, room_id, "m.typing"))
    )


async def test_who_has_read_is_seen_across_servers(both: list[Town]) -> None:
    north, south = both
    alice, bob = north["alice"], south["bob"]
    room_id = await shared_room(alice, bob, north)
    said = await alice.send_text(room_id, "Read this")
    await heard(bob, room_id, said)
    await bob.mark_read(room_id, said)
    await sees(
        alice,
        lambda answer: any(
            bob.user_id in one.get(said, {}).get("m.read", {}) for one in passing(answer, room_id, "m.receipt")
        ),
    )


async def test_who_is_there_is_seen_across_servers(both: list[Town]) -> None:
    north, south = both
    alice, bob = north["alice"], south["bob"]
    await shared_room(alice, bob, north)
    await bob.set_presence("unavailable", status="At the market")
    await sees(
        alice,
        lambda answer: any(
            event["sender"] == bob.user_id and event["content"].get("status_msg") == "At the market"
            for event in answer.get("presence", {}).get("events", [])
        ),
    )


def is_there(user_id: str) -> Callable[[dict[str, Any]], bool]:
    def told(answer: dict[str, Any]) -> bool:
        events = answer.get("presence", {}).get("events", [])
        return any(one["sender"] == user_id and one["content"]["presence"] == "online" for one in events)

    return told


async def test_who_is_there_is_told_to_a_server_that_comes_into_a_room(both: list[Town]) -> None:
    north, south = both
    alice, bob = north["alice"], south["bob"]
    await alice.set_presence("online")
    await bob.set_presence("online")
    room_id = await shared_room(alice, bob, north)
    await sees(bob, is_there(alice.user_id))
    await sees(alice, is_there(bob.user_id))
    async with signed_in(north.homeserver, "ann") as ann:
        await ann.set_presence("online")
        await ann.join(room_id)
        await sees(bob, is_there(ann.user_id))


async def test_what_is_said_while_the_road_is_closed_is_heard_when_it_opens(both: list[Town], network: Network) -> None:
    north, south = both
    alice, bob = north["alice"], south["bob"]
    room_id = await shared_room(alice, bob, north)
    network.part(north.name, south.name)
    said = [await alice.send_text(room_id, f"number {number}") for number in range(5)]
    network.heal()
    await heard(bob, room_id, said[-1])
    page = await bob.messages(room_id, limit=5)
    assert [event["event_id"] for event in page.chunk] == said[::-1]
