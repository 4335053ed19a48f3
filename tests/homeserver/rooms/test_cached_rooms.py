"""What is remembered of rooms, where it is read while they go on: an answer may come after what it does not know of."""

from __future__ import annotations

import pickle
from collections.abc import Awaitable, Callable, Mapping

import pytest
import trio

from tests.homeserver.late_answers import LateAnswers
from tests.homeserver.rooms.house import House
from tricord.homeserver.rooms.cached_rooms import (
    _KEY_BYTES,
    _MINUTES,
    _ROOM_BYTES,
    _all_current_events,
    _current_events,
)
from tricord.homeserver.rooms.stored_event import StateKey, StoredEvent
from tricord.homeserver.rooms.tail import memory_of
from tricord.homeserver.storage.events import newest_events
from tricord.homeserver.storage.rooms import rooms_by_id
from tricord.protocol.identifiers import RoomId

_TOPIC = ("m.room.topic", "")


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


async def the_whole_state(house: House, room_id: RoomId) -> Mapping[StateKey, StoredEvent]:
    return await house.state.current_all(room_id)


async def a_piece_of_it(house: House, room_id: RoomId) -> Mapping[StateKey, StoredEvent]:
    return await house.state.current(room_id, [_TOPIC])


@pytest.mark.parametrize(("look", "read"), [(the_whole_state, _all_current_events), (a_piece_of_it, _current_events)])
async def test_what_is_redacted_while_state_is_read_is_shown_without_content(
    house: House,
    late: LateAnswers,
    look: Callable[[House, RoomId], Awaitable[Mapping[StateKey, StoredEvent]]],
    read: Callable[..., Awaitable[object]],
) -> None:
    room_id = await house.create()
    topic = await house.set(room_id, "m.room.topic", "", {"topic": "take this back"})
    house.rooms.forget(room_id)
    await house.say(room_id, "something else")
    answer = late.next_of(read)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(look, house, room_id)
        await answer.is_there.wait()
        await house.redact(room_id, topic.event.event_id)
        answer.go.set()
    assert (await look(house, room_id))[_TOPIC].event.content == {}


async def test_what_is_set_while_it_is_read_is_newer_than_what_was_read(house: House, late: LateAnswers) -> None:
    room_id = await house.create()
    await house.set(room_id, "m.room.topic", "", {"topic": "before"})
    house.rooms.forget(room_id)
    await house.say(room_id, "something else")
    answer = late.next_of(_current_events)
    async with trio.open_nursery() as nursery:
        # Who sets it does not wait for who reads so much.
        others = [("m.room.topic", f"{number}") for number in range(20)]
        nursery.start_soon(house.state.current, room_id, [_TOPIC, *others])
        await answer.is_there.wait()
        await house.set(room_id, "m.room.topic", "", {"topic": "after"})
        answer.go.set()
    assert (await house.state.current(room_id, [_TOPIC]))[_TOPIC].event.content == {"topic": "after"}


async def test_a_piece_of_state_is_read_once_however_much_is_said_meanwhile(house: House, late: LateAnswers) -> None:
    room_id = await house.create()
    await house.set(room_id, "m.room.topic", "", {"topic": "tea"})
    house.rooms.forget(room_id)
    await house.say(room_id, "something else")
    answer, not_read = late.next_of(_current_events), late.next_of(_current_events)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(house.state.current, room_id, [_TOPIC])
            await answer.is_there.wait()
            await house.say(room_id, "more")
            answer.go.set()
    assert (await house.state.current(room_id, [_TOPIC]))[_TOPIC].event.content == {"topic": "tea"}
    assert not not_read.is_there.is_set()


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


async def test_what_two_others_tell_of_a_room_while_it_is_read_may_come_in_another_order(
    house: House, late: LateAnswers
) -> None:
    room_id = await house.create()
    read = await house.rooms.room(room_id)
    assert read is not None
    house.rooms.forget(room_id)
    answer = late.next_of(rooms_by_id)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.rooms.room, room_id)
        await answer.is_there.wait()
        for later in (1, 0):
            house.rooms._hear(pickle.dumps((room_id, read.head + later, read.position + later, b"")))
        answer.go.set()
    assert house.rooms.known(room_id) is None


async def test_what_is_counted_of_a_room_is_what_is_kept_of_it(house: House) -> None:
    room_id = await house.create()
    room = await house.rooms.room(room_id)
    assert room is not None
    for number in range(300):
        await house.set(room_id, f"org.example.{number % 150}", "", {"text": "x" * 1000})
        await house.say(room_id, "x" * 100)
        if number == 200:
            # What is read again lies in part before the tail, and in part in it.
            house.rooms.forget(room_id)
            room = await house.rooms.room(room_id)
            assert room is not None
            await house.state.current_all(room_id)
            await bodies(house, room_id)
    assert room.tail is not None
    tail = room.tail.newest(after=room.tail.floor, upto=2**62, limit=10_000)
    assert tail is not None
    inside = {stored.nid for stored in tail[0]}
    beside = [stored for stored in room.state.values() if stored is not None and stored.nid not in inside]
    assert inside
    assert beside
    assert room.size - room.tail.size == sum(map(memory_of, beside)) + _KEY_BYTES * len(room.state) + _ROOM_BYTES


async def test_a_room_that_nobody_asks_for_is_forgotten_after_some_minutes(house: House) -> None:
    busy, quiet = await house.create(), await house.create()
    remembered = await house.rooms.rooms([busy, quiet])
    for _ in range(_MINUTES):
        assert (await house.rooms.room(busy)) is remembered[busy]
        house.rooms.let_go()
    assert (await house.rooms.room(busy)) is remembered[busy]
    assert (await house.rooms.room(quiet)) is not remembered[quiet]
    assert await bodies(house, quiet) == []
