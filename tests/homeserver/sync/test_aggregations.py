"""What relates to events, as a sync tells it."""

from __future__ import annotations

from typing import Any

from tests.homeserver.sync.people import Follower, joined

LAST_TWO = {"timeline": {"limit": 2}}


def relation(rel_type: str, event_id: str) -> dict[str, Any]:
    return {"m.relates_to": {"rel_type": rel_type, "event_id": event_id}}


async def test_a_limited_timeline_tells_relations_as_each_reader_sees_them(
    alice: Follower, bob: Follower, carol: Follower
) -> None:
    room = await alice.create_room(preset="public_chat")
    for person in (bob, carol):
        await person.join(room)
        await person.sync()
    await carol.set_account_data("m.ignored_user_list", {"ignored_users": {bob.user_id: {}}})
    await carol.sync()
    for number in range(3):
        await alice.say(room, f"{number}")
    root = await alice.say(room, "root")
    await bob.say(room, "answer", **relation("m.thread", root))
    for told in (joined(await bob.news(room=LAST_TWO), room), joined(await bob.sync(room=LAST_TWO), room)):
        assert told["timeline"]["limited"] is True
        thread = told["timeline"]["events"][0]["unsigned"]["m.relations"]["m.thread"]
        assert (thread["count"], thread["current_user_participated"]) == (1, True)
        assert thread["latest_event"]["content"]["body"] == "answer"
        assert "room_id" not in thread["latest_event"]
        assert thread["latest_event"]["unsigned"]["transaction_id"] == str(bob.sent)
    told = joined(await carol.news(room=LAST_TWO), room)
    assert "m.relations" not in str(told)


async def test_a_timeline_without_a_gap_tells_no_relations(alice: Follower, bob: Follower) -> None:
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    await bob.sync()
    root = await alice.say(room, "root")
    await alice.say(room, "answer", **relation("m.thread", root))
    assert "m.relations" not in str(await bob.news())
