"""Who comes into a room of another server reads on from where their timeline begins, and misses nothing of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.conversations.network import Network
from tests.conversations.towns import Town, heard, towns
from tests.postgres import PostgresServer
from tricord.clients import Client
from tricord.protocol.identifiers import EventId, RoomId

_LIST = {"all": {"ranges": [[0, 9]], "timeline_limit": 20, "required_state": []}}
_MESSAGES = {"room": {"timeline": {"types": ["m.room.message"]}}}


@pytest.fixture
async def both(postgres: PostgresServer, tmp_path: Path) -> AsyncIterator[list[Town]]:
    async with towns(postgres, tmp_path, Network(), north=["alice"], south=["bob"]) as found:
        yield found


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
