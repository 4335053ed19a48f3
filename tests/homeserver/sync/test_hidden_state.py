"""State that somebody may not see in the timeline, and what a timeline looks like beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.servers import running_homeserver, signed_in


@pytest.mark.parametrize("limit", [3, 5, 20])
async def test_no_timeline_ends_in_a_state_that_is_not_the_rooms(database_url: str, tmp_path: Path, limit: int) -> None:
    """Who comes back is told of the newest visibility beside the timeline, since they may not see its event.

    What is beside counts as older than the timeline: one that reached back to the visibility before would leave the
    client with that. So it begins after it, and what comes before is fetched.
    """
    async with (
        running_homeserver(database_url, tmp_path) as homeserver,
        signed_in(homeserver, "alice") as alice,
        signed_in(homeserver, "bob") as bob,
    ):
        rule = {"type": "m.room.history_visibility", "content": {"history_visibility": "world_readable"}}
        room_id = await alice.create_room(preset="public_chat", initial_state=[rule])
        await bob.join(room_id)
        await bob.leave(room_id)
        seen = await alice.set_state(room_id, "m.room.history_visibility", {"history_visibility": "invited"})
        hidden = await alice.set_state(room_id, "m.room.history_visibility", {"history_visibility": "joined"})
        await bob.join(room_id)
        answer = await bob.sync(sync_filter={"room": {"timeline": {"limit": limit}}})
        room = answer["rooms"]["join"][room_id]
        events = [*room["state"]["events"], *room["timeline"]["events"]]
        rules = [event["event_id"] for event in events if event["type"] == "m.room.history_visibility"]
        assert rules == [hidden]
        (rejoin,) = room["timeline"]["events"]
        assert rejoin["state_key"] == bob.user_id
        assert room["timeline"]["limited"]
        page = await bob.messages(room_id, start=room["timeline"]["prev_batch"], limit=3)
        earlier = [event["event_id"] for event in page.chunk]
        assert seen in earlier
        assert hidden not in earlier
