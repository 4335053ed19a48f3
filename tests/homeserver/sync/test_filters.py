"""What filters leave out of a sync, and what a client is told all the same."""

from __future__ import annotations

from typing import Any

import pytest

from tests.homeserver.sync.people import Follower, joined, keys, texts

NAME = ("m.room.name", "")


@pytest.mark.parametrize("rule", ["rooms", "not_rooms"])
async def test_a_timeline_can_be_wanted_of_some_rooms_only(alice: Follower, rule: str) -> None:
    wanted, other = await alice.create_room(name="Tea"), await alice.create_room(name="Coffee")
    timeline: dict[str, Any] = {"rooms": [wanted]} if rule == "rooms" else {"not_rooms": [other]}
    room_filter: dict[str, Any] = {"room": {"timeline": timeline}}
    told = await alice.sync(**room_filter)
    assert joined(told, wanted)["timeline"]["events"]
    assert joined(told, other)["timeline"]["events"] == []
    # What the timeline would have told of the state is beside it.
    assert NAME in keys(joined(told, other))
    for room in (wanted, other):
        await alice.say(room, "hello")
    told = await alice.news(**room_filter)
    assert texts(joined(told, wanted)) == ["hello"]
    assert other not in told["rooms"]["join"]


async def test_a_room_that_loses_its_name_is_named_after_its_members(alice: Follower, bob: Follower) -> None:
    room = await alice.create_room(name="Tea", invite=[bob.user_id])
    await bob.join(room)
    lazily: dict[str, Any] = {"room": {"state": {"lazy_load_members": True}, "timeline": {"limit": 1}}}
    told = await alice.sync(**lazily)
    assert "m.heroes" not in joined(told, room)["summary"]
    await alice.put(f"/v3/rooms/{room}/state/m.room.name/", {"name": ""})
    told = joined(await alice.news(**lazily), room)
    assert told["summary"]["m.heroes"] == [bob.user_id]
    await alice.put(f"/v3/rooms/{room}/state/m.room.name/", {"name": "Coffee"})
    assert "m.heroes" not in joined(await alice.news(**lazily), room).get("summary", {})
