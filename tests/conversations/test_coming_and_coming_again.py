"""Who comes into a room of another server reads on from where their timeline begins, and misses nothing of it."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import trio

from tests.conversations.network import Network
from tests.conversations.towns import Town, heard
from tricord.clients import Client
from tricord.homeserver.peers import deliveries
from tricord.protocol.identifiers import EventId, RoomId

_LIST = {"all": {"ranges": [[0, 9]], "timeline_limit": 20, "required_state": []}}
_MESSAGES = {"room": {"timeline": {"types": ["m.room.message"]}}}


async def everything(client: Client, room_id: RoomId, timeline: list[dict[str, Any]], before: str) -> list[EventId]:
    """Return what a client has that was given a timeline and reads backwards from there."""
    chunks, start = [timeline], before
    while True:
        page = await client.messages(room_id, start=start)
        chunks.append(page.chunk[::-1])
        if page.end is None:
            return [EventId(event["event_id"]) for chunk in reversed(chunks) for event in chunk]
        start = page.end


async def told(client: Client, room_id: RoomId, since: str | None, **how: Any) -> tuple[dict[str, Any], list[EventId]]:
    timeline = (await client.sync(since=since, **how))["rooms"]["join"][room_id]["timeline"]
    return timeline, await everything(client, room_id, timeline["events"], timeline["prev_batch"])


async def says(client: Client, room_id: RoomId, *texts: str) -> list[EventId]:
    return [await client.send_text(room_id, text) for text in texts]


async def test_who_joins_reads_on_from_where_their_timeline_begins(both: list[Town]) -> None:
    alice, bob = both[0]["alice"], both[1]["bob"]
    room_id = await alice.create_room(preset="public_chat")
    said = await says(alice, room_id, "one", "two", "three")
    since = (await bob.sync())["next_batch"]
    await bob.join(room_id, via=[both[0].name])
    timeline, read = await told(bob, room_id, since)
    assert timeline["limited"]
    assert [event_id for event_id in read if event_id in said] == said
    assert len(read) == len(set(read))


async def test_who_comes_again_is_told_of_what_happened_meanwhile(both: list[Town]) -> None:
    alice, bob = both[0]["alice"], both[1]["bob"]
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id, via=[both[0].name])
    said = await says(alice, room_id, "while he is here")
    await heard(bob, room_id, said[0])
    await bob.leave(room_id)
    since = (await bob.sync())["next_batch"]
    said += await says(alice, room_id, *(f"while he is away {number}" for number in range(5)))
    await bob.join(room_id, via=[both[0].name])
    said += await says(bob, room_id, "I am back")
    for how in ({}, {"sync_filter": _MESSAGES}):
        for start in (since, None):
            timeline, read = await told(bob, room_id, start, **how)
            assert timeline["limited"]
            assert [event_id for event_id in read if event_id in said] == said
            assert len(read) == len(set(read))
    room = (await bob.sliding_sync(lists=_LIST)).rooms[room_id]
    assert room.limited
    read = await everything(bob, room_id, room.timeline, room.prev_batch or "")
    assert [event_id for event_id in read if event_id in said] == said
    assert len(read) == len(set(read))


def memberships(timeline: list[dict[str, Any]], user_id: str) -> list[str]:
    return [event["content"]["membership"] for event in timeline if event.get("state_key") == user_id]


@pytest.mark.parametrize("membership", ["join", "knock"])
async def test_who_leaves_and_comes_again_at_once_does_not_overtake_themselves(
    both: list[Town], network: Network, membership: str
) -> None:
    alice, bob = both[0]["alice"], both[1]["bob"]
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id, via=[both[0].name])
    if membership == "knock":
        await alice.set_state(room_id, "m.room.join_rules", {"join_rule": "knock"})
    await heard(bob, room_id, await alice.send_text(room_id, "hello"))
    gate = network.gates["/send/"] = trio.Event()
    await bob.leave(room_id)
    before = len(network.requests)
    comes = bob.join if membership == "join" else bob.knock
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(comes, room_id, via=[both[0].name]))
        # Were they to ask for a template before they are gone, they would do so within this time.
        with trio.move_on_after(1):
            while not any("/make_" in request[3] for request in network.requests[before:]):  # noqa: ASYNC110
                await trio.sleep(0.01)
        del network.gates["/send/"]
        gate.set()
    page = await alice.messages(room_id)
    assert memberships(page.chunk[::-1], bob.user_id) == ["join", "leave", membership]


async def test_who_comes_again_does_not_wait_for_ever_for_what_is_not_taken(
    both: list[Town], network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "_PATIENCE_SECONDS", 0.1)
    alice, bob = both[0]["alice"], both[1]["bob"]
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id, via=[both[0].name])
    await heard(bob, room_id, await alice.send_text(room_id, "hello"))
    gate = network.gates["/send/"] = trio.Event()
    await bob.leave(room_id)
    with trio.fail_after(60):
        assert await bob.join(room_id, via=[both[0].name]) == room_id
    gate.set()
