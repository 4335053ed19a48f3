"""Rooms that are joined anew before they were complete."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import trio

from tests.homeserver.rooms.foreign import ELSEWHERE
from tests.homeserver.rooms.house import opened_house
from tricord.homeserver.peers.completion import Completing
from tricord.homeserver.rooms.partial_rooms import PartialRooms
from tricord.homeserver.rooms.stored_event import StoredEvent
from tricord.protocol.identifiers import EventId


class NoOutliers:
    """No events; tells which were asked for."""

    def __init__(self) -> None:
        self.sending, self.asked = trio.open_memory_channel[EventId](10)

    async def known(self, event_ids: Collection[EventId]) -> dict[EventId, StoredEvent]:
        for event_id in event_ids:
            await self.sending.send(event_id)
        return {}


async def test_a_room_that_is_joined_anew_is_completed_whoever_hears_of_it_first(database_url: str) -> None:
    async with opened_house(database_url) as house, trio.open_nursery() as nursery:
        room = await house.rooms.room(await house.create())
        assert room is not None
        partial_rooms = PartialRooms(house.database)
        outliers: Any = NoOutliers()
        # It never comes as far as to need them.
        unused: dict[str, Any] = dict.fromkeys(
            ("peers", "whole_states", "backfill", "early_history", "removals", "verifier", "receiver", "residence")
        )
        completing = Completing(
            house.database,
            rooms=house.rooms,
            outliers=outliers,
            partial_rooms=partial_rooms,
            clock=house.clock,
            **unused,
        )
        nursery.start_soon(completing.run)
        with trio.fail_after(60):
            # Both who look for rooms and who waits for the join hear of each; which comes first is chance.
            for number in range(20):
                join = EventId(f"$join{number}")
                await partial_rooms.begin(room.nid, join, [ELSEWHERE], b"", house.clock.now_ms())
                while await outliers.asked.receive() != join:
                    pass
        nursery.cancel_scope.cancel()
