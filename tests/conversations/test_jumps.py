"""Somebody jumps to a date in the history of a room, of which their server has not fetched that part."""

from __future__ import annotations

from typing import Literal

import pytest

from tests.conversations.network import Network
from tests.conversations.towns import Town
from tricord.clients import Client, Refused
from tricord.protocol.identifiers import EventId, RoomId

MESSAGES = 260


async def room_with_a_past(both: list[Town]) -> tuple[RoomId, list[EventId]]:
    north, south = both
    room_id = await north["alice"].create_room(preset="public_chat")
    said = [await north["alice"].send_text(room_id, f"number {number}") for number in range(MESSAGES)]
    await south["bob"].join(room_id, via=[north.name])
    return room_id, said


async def time_of(client: Client, room_id: RoomId, event_id: EventId) -> int:
    time: int = (await client.event(room_id, event_id))["origin_server_ts"]
    return time


async def everything(client: Client, room_id: RoomId) -> list[EventId]:
    """Read a room backwards to its beginning."""
    read: list[EventId] = []
    start = None
    for _ in range(100):
        page = await client.messages(room_id, start=start, limit=25)
        read += [EventId(event["event_id"]) for event in page.chunk]
        start = page.end
        if start is None:
            return read
    raise AssertionError("the history has no end")


@pytest.mark.parametrize("direction", ["f", "b"])
async def test_a_jump_finds_what_the_other_server_would(both: list[Town], direction: Literal["f", "b"]) -> None:
    north, south = both
    room_id, said = await room_with_a_past(both)
    for number in (200, 20, 100, 0):
        ts = await time_of(north["alice"], room_id, said[number])
        found = await south["bob"].event_at(room_id, ts, direction=direction)
        assert found == await north["alice"].event_at(room_id, ts, direction=direction)


async def test_what_was_jumped_to_has_its_surroundings(both: list[Town]) -> None:
    north, south = both
    room_id, said = await room_with_a_past(both)
    ts = await time_of(north["alice"], room_id, said[50])
    found = await south["bob"].event_at(room_id, ts)
    around = await south["bob"].context(room_id, found, limit=20)
    before = [event["event_id"] for event in around.events_before]
    at = said.index(found)
    assert before == said[at - 10 : at][::-1]


async def test_the_history_is_whole_and_in_order_after_jumps(both: list[Town]) -> None:
    north, south = both
    room_id, said = await room_with_a_past(both)
    for number in (30, 180, 90):
        await south["bob"].event_at(room_id, await time_of(north["alice"], room_id, said[number]))
    assert await everything(south["bob"], room_id) == await everything(north["alice"], room_id)


async def test_reading_on_from_a_jump_leads_to_the_present(both: list[Town]) -> None:
    north, south = both
    room_id, said = await room_with_a_past(both)
    found = await south["bob"].event_at(room_id, await time_of(north["alice"], room_id, said[30]))
    start: str | None = (await south["bob"].context(room_id, found, limit=0)).end
    read = [found]
    while start is not None:
        page = await south["bob"].messages(room_id, start=start, direction="f", limit=40)
        read += [EventId(event["event_id"]) for event in page.chunk if event["type"] == "m.room.message"]
        start = page.end
    assert read == said[said.index(found) :]


async def test_nobody_is_asked_where_nothing_is_missing(both: list[Town], network: Network) -> None:
    north, south = both
    room_id, said = await room_with_a_past(both)
    await everything(south["bob"], room_id)
    ts = await time_of(north["alice"], room_id, said[10])
    network.part(north.name, south.name)
    assert await south["bob"].event_at(room_id, ts) == await north["alice"].event_at(room_id, ts)
    assert not [uri for *_, uri in network.requests if "timestamp_to_event" in uri]


async def test_where_nobody_can_be_asked_the_closest_event_here_is_told(both: list[Town], network: Network) -> None:
    north, south = both
    room_id, said = await room_with_a_past(both)
    ts = await time_of(north["alice"], room_id, said[10])
    network.part(north.name, south.name)
    assert await south["bob"].event_at(room_id, ts) not in said
    with pytest.raises(Refused) as refused:
        await south["bob"].event_at(room_id, ts, direction="b")
    assert refused.value.status == 404
