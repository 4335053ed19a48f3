"""What is remembered of rooms, where it is read while they go on: an answer may come after what it does not know of."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio

from tests.homeserver.late_answers import LateAnswers
from tests.homeserver.rooms.house import House, opened_house
from tricord.homeserver.rooms.cached_rooms import _all_current_events, _current_events
from tricord.homeserver.storage.events import newest_events
from tricord.homeserver.storage.rooms import rooms_by_id
from tricord.protocol.identifiers import RoomId


@pytest.fixture
async def house(database_url: str) -> AsyncIterator[House]:
    async with opened_house(database_url) as house:
        yield house


@pytest.fixture
def late(house: House, monkeypatch: pytest.MonkeyPatch) -> LateAnswers:
    return LateAnswers(house.database, monkeypatch)


async def bodies(house: House, room_id: RoomId) -> list[str]:
    """Return what has been said in a room, by what is remembered of it."""
    stretch = await house.timeline.recent(room_id, after=0, upto=house.publisher.position, limit=20)
    events = [stored.event for stored in stretch.events]
    return [event.content.get("body", "") for event in events if event.type == "m.room.message"]


async def test_what_is_redacted_while_the_timeline_is_read_is_shown_without_content(
    house: House, late: LateAnswers
) -> None:
    room_id = await house.create()
    said = await house.say(room_id, "take this back")
    house.rooms.forget(room_id)
    await house.say(room_id, "something else")
    answer = late.next_of(newest_events)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bodies, house, room_id)
        await answer.is_there.wait()
        await house.redact(room_id, said.event.event_id)
        answer.go.set()
    assert await bodies(house, room_id) == ["", "something else"]


async def test_what_is_redacted_while_the_whole_state_is_read_is_shown_without_content(
    house: House, late: LateAnswers
) -> None:
    room_id = await house.create()
    topic = await house.set(room_id, "m.room.topic", "", {"topic": "take this back"})
    house.rooms.forget(room_id)
    answer = late.next_of(_all_current_events)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.state.current_all, room_id)
        await answer.is_there.wait()
        await house.redact(room_id, topic.event.event_id)
        answer.go.set()
    assert (await house.state.current_all(room_id))["m.room.topic", ""].event.content == {}


async def test_a_room_that_is_read_while_it_is_written_to_lacks_nothing_later(house: House, late: LateAnswers) -> None:
    room_id = await house.create()
    house.rooms.forget(room_id)
    for_the_writer, for_the_reader = late.next_of(rooms_by_id), late.next_of(rooms_by_id)
    before_the_write = late.next_of(_current_events)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.say, room_id, "hello")
        await for_the_writer.is_there.wait()
        async with trio.open_nursery() as reading:
            reading.start_soon(bodies, house, room_id)
            await for_the_reader.is_there.wait()
            for_the_writer.go.set()
            await before_the_write.is_there.wait()
            for_the_reader.go.set()
        assert await bodies(house, room_id) == []
        before_the_write.go.set()
    assert await bodies(house, room_id) == ["hello"]


async def test_a_room_that_is_forgotten_and_read_while_it_is_written_to_lacks_nothing_later(
    house: House, late: LateAnswers
) -> None:
    room_id = await house.create()
    house.rooms.forget(room_id)
    before_the_write = late.next_of(_current_events)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.say, room_id, "hello")
        await before_the_write.is_there.wait()
        house.rooms.forget(room_id)
        assert await bodies(house, room_id) == []
        before_the_write.go.set()
    assert await bodies(house, room_id) == ["hello"]
