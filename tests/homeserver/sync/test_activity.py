"""What is remembered of when something last happened in rooms, where it happens while it is being read."""

from __future__ import annotations

import pytest
import trio

from tests.homeserver.late_answers import LateAnswers
from tests.homeserver.rooms.house import opened_house
from tricord.homeserver.storage.room_activity import room_activities
from tricord.homeserver.stream.publisher import Publisher
from tricord.homeserver.sync.sliding.activity import RoomActivity


async def test_what_happens_while_two_read_is_known_to_both(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened_house(database_url) as house:
        activity = RoomActivity(house.database, house.publisher)
        room_id, other = await house.create(), await house.create()
        answer = LateAnswers(house.database, monkeypatch).next_of(room_activities)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(activity.of, [room_id])
            await answer.is_there.wait()
            await activity.of([other])
            said = await house.say(room_id, "hello")
            answer.go.set()
        assert (await activity.of([room_id]))[room_id].last == said.place.position


async def test_a_gap_while_rooms_are_read_takes_none_away_and_keeps_none_of_before(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened_house(database_url) as house, trio.open_nursery() as nursery:
        known, room_id = await house.create(), await house.create()
        publisher = Publisher(house.database, house.publisher.position)
        nursery.start_soon(publisher.run)
        activity = RoomActivity(house.database, publisher)
        await activity.of([known])
        answer = LateAnswers(house.database, monkeypatch).next_of(room_activities)
        listed: list[str] = []

        async def list_rooms() -> None:
            listed.extend(await activity.of([known, room_id]))

        async with trio.open_nursery() as listing:
            listing.start_soon(list_rooms)
            await answer.is_there.wait()
            said = await house.say(room_id, "hello")
            while publisher.position < said.place.position:
                await publisher.reach(said.place.position)
            answer.go.set()
        assert listed == [known, room_id]
        assert (await activity.of([room_id]))[room_id].last == said.place.position
        nursery.cancel_scope.cancel()
