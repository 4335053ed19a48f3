"""What waits to be read, where several devices ask at once."""

from __future__ import annotations

import pytest
import trio

from tests.homeserver.late_answers import LateAnswers
from tests.homeserver.rooms.house import BOB, opened_house
from tricord.homeserver.push.counts import NotificationCounts
from tricord.homeserver.push.rules import PushRules
from tricord.homeserver.rooms.preferences import Preferences
from tricord.homeserver.rooms.receipts import READ, Receipts
from tricord.homeserver.storage.events import newest_events
from tricord.homeserver.storage.receipts import UNTHREADED, Receipt
from tricord.homeserver.stream.recent_changes import RecentChanges


async def test_what_is_read_while_two_devices_begin_to_count_waits_no_longer(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened_house(database_url) as house:
        changes = RecentChanges(house.publisher)
        counts = NotificationCounts(
            house.database,
            house.timeline,
            house.state,
            house.memberships,
            PushRules(house.database, house.publisher),
            changes,
            Preferences(house.database, house.publisher),
        )
        room_id = await house.create()
        await house.member(room_id, BOB, "join")
        said = await house.say(room_id, "hello")
        house.rooms.forget(room_id)
        answer = LateAnswers(house.database, monkeypatch).next_of(newest_events)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(counts.total, BOB, [room_id], house.publisher.position)
            await answer.is_there.wait()
            place = said.place.position
            read = Receipt(room_id, BOB, READ, UNTHREADED, said.event.event_id, place, received_ts=1, position=0)
            await Receipts(house.database, house.publisher).move(read)
            assert await counts.total(BOB, [room_id], house.publisher.position) == 0
            answer.go.set()
        assert await counts.total(BOB, [room_id], house.publisher.position) == 0
