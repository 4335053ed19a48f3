"""What people are told who follow along."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio

from tests.homeserver.sync.people import Follower, joined, keys, texts
from tricord.homeserver.storage.stream import current_position
from tricord.homeserver.stream.tokens import decode_token, encode_token
from tricord.protocol.errors import InvalidParam

People = Callable[[str], Follower]


async def room_of(owner: Follower, *members: Follower, **wanted: object) -> str:
    room = await owner.create_room(preset="public_chat", **wanted)
    for member in members:
        await member.join(room)
    return room


async def test_the_first_sync_tells_the_room_and_its_state_before_the_timeline(alice: Follower) -> None:
    room = await room_of(alice, name="Home")
    for number in range(12):
        await alice.say(room, f"{number}")
    told = joined(await alice.sync(), room)
    assert texts(told) == [f"{number}" for number in range(2, 12)]
    assert told["timeline"]["limited"] is True
    assert {("m.room.create", ""), ("m.room.name", ""), ("m.room.member", alice.user_id)} <= keys(told)
    assert told["summary"]["m.joined_member_count"] == 1
    assert alice.since is not None
    assert await alice.history(room, f"dir=b&limit=2&from={told['timeline']['prev_batch']}") == ["1", "0"]


async def test_state_that_is_in_the_timeline_is_not_told_twice(alice: Follower) -> None:
    room = await room_of(alice)
    told = joined(await alice.sync(room={"timeline": {"limit": 100}}), room)
    assert keys(told) == set()
    assert told["timeline"]["limited"] is False
    assert told["timeline"]["events"][0]["type"] == "m.room.create"


async def test_who_has_seen_what_is_never_announced_is_not_told_it_again(
    alice: Follower, bob: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = await room_of(alice, bob)
    await bob.sync()
    publisher = alice.engine._publisher
    # Who commits it dies before it tells; another process has looked, and given out that position.
    with monkeypatch.context() as dead:
        dead.setattr(publisher, "publish", lambda _commit: None)
        await alice.say(room, "hello")
    seen = encode_token(await alice.engine._database.read(current_position))
    assert decode_token(seen) > publisher.position
    await bob.sync(since=seen)
    assert bob.since == seen


async def test_what_is_said_is_told_once(alice: Follower, bob: Follower) -> None:
    room = await room_of(alice, bob)
    await bob.sync()
    await alice.say(room, "hello")
    news = joined(await bob.news(), room)
    assert texts(news) == ["hello"]
    assert news["timeline"]["limited"] is False
    assert "state" not in news
    assert "rooms" not in await bob.news()


async def test_a_long_poll_ends_when_something_happens(alice: Follower, bob: Follower) -> None:
    room = await room_of(alice, bob)
    await bob.sync()
    told: list[str] = []

    async def wait() -> None:
        told.extend(texts(joined(await bob.news(wait=30), room)))

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.sleep(0.05)
            await alice.say(room, "wake up")
    assert told == ["wake up"]


async def test_a_long_poll_in_which_nothing_happens_ends_empty(alice: Follower) -> None:
    await room_of(alice)
    before = (await alice.sync())["next_batch"]
    with trio.fail_after(20):
        news = await alice.news(wait=0.05)
    assert "rooms" not in news
    assert news["next_batch"] == before


async def test_only_the_sending_device_is_told_its_transaction_id(alice: Follower, people: People) -> None:
    room = await room_of(alice)
    phone = people("alice")
    await alice.sync()
    await phone.sync()
    await alice.say(room, "hello")
    (mine,) = joined(await alice.news(), room)["timeline"]["events"]
    (other,) = joined(await phone.news(), room)["timeline"]["events"]
    assert mine["unsigned"]["transaction_id"] == "1"
    assert "transaction_id" not in other["unsigned"]


async def test_a_gap_is_told_with_the_state_that_changed_in_it(alice: Follower, bob: Follower) -> None:
    room = await room_of(alice, bob)
    await bob.sync()
    await alice.put(f"/v3/rooms/{room}/state/m.room.topic/", {"topic": "old"})
    await alice.put(f"/v3/rooms/{room}/state/m.room.topic/", {"topic": "new"})
    for number in range(12):
        await alice.say(room, f"{number}")
    news = joined(await bob.news(), room)
    assert news["timeline"]["limited"] is True
    assert keys(news) == {("m.room.topic", "")}
    assert news["state"]["events"][0]["content"] == {"topic": "new"}


async def test_state_after_holds_the_timelines_own_state(alice: Follower, bob: Follower) -> None:
    room = await room_of(alice, bob)
    await bob.sync(use_state_after=True)
    await alice.put(f"/v3/rooms/{room}/state/m.room.topic/", {"topic": "new"})
    news = joined(await bob.news(use_state_after=True), room)
    assert keys(news, "state_after") == {("m.room.topic", "")}
    assert "state" not in news
    await alice.say(room, "hello")
    news = joined(await bob.news(use_state_after=True), room)
    assert news["state_after"]["events"] == []


async def test_full_state_is_told_when_asked_for(alice: Follower) -> None:
    room = await room_of(alice)
    await alice.sync()
    news = joined(await alice.news(full_state=True), room)
    assert ("m.room.create", "") in keys(news)
    assert news["timeline"]["events"] == []


async def test_an_invitation_is_told_with_what_the_room_is(alice: Follower, bob: Follower) -> None:
    room = await alice.create_room(name="Home")
    await bob.sync()
    await alice.invite(room, bob)
    told = (await bob.news())["rooms"]["invite"][room]
    assert {("m.room.create", ""), ("m.room.name", ""), ("m.room.member", bob.user_id)} <= keys(told, "invite_state")
    assert "rooms" not in await bob.news()
    await bob.join(room)
    news = await bob.news()
    assert "invite" not in news["rooms"]
    # The rooms history is shared, so it is told from its beginning.
    assert ("m.room.create", "") in keys(joined(news, room)) | {
        (event["type"], event.get("state_key")) for event in joined(news, room)["timeline"]["events"]
    }


async def test_an_invitation_that_is_turned_down_is_told_as_left(alice: Follower, bob: Follower) -> None:
    room = await alice.create_room()
    await alice.invite(room, bob)
    await bob.sync()
    await bob.post(f"/v3/rooms/{room}/leave")
    told = (await bob.news())["rooms"]["leave"][room]
    (event,) = told["timeline"]["events"]
    assert event["content"]["membership"] == "leave"


async def test_nothing_newer_than_the_kick_is_told(alice: Follower, bob: Follower) -> None:
    room = await room_of(alice, bob)
    await bob.sync()
    old = bob.since
    await alice.say(room, "before")
    await alice.post(f"/v3/rooms/{room}/kick", {"user_id": bob.user_id})
    await alice.say(room, "after")
    await alice.put(f"/v3/rooms/{room}/state/m.room.topic/", {"topic": "secret"})
    for options in ({}, {"full_state": True}, {"use_state_after": True}):
        rooms = (await bob.sync(since=old, **options))["rooms"]
        assert "join" not in rooms
        assert texts(rooms["leave"][room]) == ["before"]
        assert "secret" not in str(rooms)
    assert "rooms" not in await bob.news()
    assert "rooms" not in await bob.sync()
    left = (await bob.sync(room={"include_leave": True}))["rooms"]["leave"][room]
    assert "after" not in texts(left)
    assert "secret" not in str(left)


async def test_whoever_comes_back_is_told_what_they_missed_and_may_see(alice: Follower, bob: Follower) -> None:
    room = await room_of(alice, bob)
    await bob.sync()
    await bob.post(f"/v3/rooms/{room}/leave")
    await bob.news()
    await alice.say(room, "while away")
    await bob.join(room)
    news = joined(await bob.news(), room)
    assert "while away" in texts(news)
    assert ("m.room.create", "") in keys(news)


async def test_people_who_are_ignored_are_not_heard(alice: Follower, bob: Follower) -> None:
    room = await room_of(alice, bob)
    await bob.sync()
    await bob.set_account_data("m.ignored_user_list", {"ignored_users": {alice.user_id: {}}})
    await alice.say(room, "can you hear me?")
    await alice.put(f"/v3/rooms/{room}/state/m.room.topic/", {"topic": "state is told"})
    news = await bob.news()
    assert news["account_data"]["events"][0]["type"] == "m.ignored_user_list"
    assert texts(joined(news, room)) == []
    assert "state is told" in str(news)
    other = await alice.create_room()
    await alice.invite(other, bob)
    assert "invite" not in (await bob.news()).get("rooms", {})


async def test_what_ignored_people_type_and_read_is_not_told(alice: Follower, bob: Follower, carol: Follower) -> None:
    room = await room_of(alice, bob, carol)
    event_id = await alice.say(room, "read this")
    await alice.sync()
    await alice.set_account_data("m.ignored_user_list", {"ignored_users": {bob.user_id: {}}})
    await alice.news()
    await bob.post(f"/v3/rooms/{room}/receipt/m.read/{event_id}", {})
    assert "rooms" not in await alice.news()
    for person in (bob, carol):
        await person.put(f"/v3/rooms/{room}/typing/{person.user_id}", {"typing": True, "timeout": 30000})
        await person.post(f"/v3/rooms/{room}/receipt/m.read/{event_id}", {})
    for told in (await alice.news(), await alice.sync()):
        typing, receipt = joined(told, room)["ephemeral"]["events"]
        assert typing["content"] == {"user_ids": [carol.user_id]}
        assert list(receipt["content"][event_id]["m.read"]) == [carol.user_id]
    assert bob.user_id in str(joined(await carol.sync(), room)["ephemeral"])
    # Bob still types, and Carol does not any more: that must be told.
    await carol.put(f"/v3/rooms/{room}/typing/{carol.user_id}", {"typing": False})
    (typing,) = joined(await alice.news(), room)["ephemeral"]["events"]
    assert typing["content"] == {"user_ids": []}
    await alice.set_account_data("m.ignored_user_list", {"ignored_users": {}})
    assert bob.user_id in str(joined(await alice.sync(), room)["ephemeral"])


async def test_whether_ignored_people_are_there_is_not_told(alice: Follower, bob: Follower, carol: Follower) -> None:
    await room_of(alice, bob, carol)
    await bob.set_account_data("m.ignored_user_list", {"ignored_users": {alice.user_id: {}}})
    for follower in (bob, carol):
        await follower.sync()
    for person in (alice, carol):
        await person.put(f"/v3/presence/{person.user_id}/status", {"presence": "online", "status_msg": "here"})
    await carol.news(wait=5)
    news = await bob.news(wait=5)
    everything = await bob.sync()
    assert alice.user_id not in {event["sender"] for told in (news, everything) for event in told["presence"]["events"]}
    assert carol.user_id in {event["sender"] for event in everything["presence"]["events"]}
    assert alice.user_id in {event["sender"] for event in (await carol.sync())["presence"]["events"]}


async def test_account_data_of_rooms_is_told_with_the_room(alice: Follower) -> None:
    room = await room_of(alice)
    await alice.sync()
    await alice.put(f"/v3/user/{alice.user_id}/rooms/{room}/account_data/org.example", {"a": 1})
    news = joined(await alice.news(), room)
    assert news == {"account_data": {"events": [{"type": "org.example", "content": {"a": 1}}]}}


async def test_push_rules_are_told_as_account_data(alice: Follower) -> None:
    first = await alice.sync()
    assert "m.push_rules" in {event["type"] for event in first["account_data"]["events"]}
    await alice.put("/v3/pushrules/global/content/cake", {"pattern": "cake", "actions": ["notify"]})
    (event,) = (await alice.news())["account_data"]["events"]
    assert event["content"]["global"]["content"][0]["rule_id"] == "cake"


async def test_typing_and_receipts_pass(alice: Follower, bob: Follower) -> None:
    room = await room_of(alice, bob)
    event_id = await alice.say(room, "read this")
    await alice.sync()
    await bob.put(f"/v3/rooms/{room}/typing/{bob.user_id}", {"typing": True, "timeout": 30000})
    await bob.post(f"/v3/rooms/{room}/receipt/m.read/{event_id}", {})
    await bob.post(f"/v3/rooms/{room}/receipt/m.read.private/{event_id}", {})
    typing, receipt = joined(await alice.news(), room)["ephemeral"]["events"]
    assert typing["content"] == {"user_ids": [bob.user_id]}
    assert list(receipt["content"][event_id]) == ["m.read"]
    assert list(receipt["content"][event_id]["m.read"]) == [bob.user_id]
    await bob.put(f"/v3/rooms/{room}/typing/{bob.user_id}", {"typing": False})
    (typing,) = joined(await alice.news(), room)["ephemeral"]["events"]
    assert typing["content"] == {"user_ids": []}
    assert "m.read.private" in str(joined(await bob.sync(), room)["ephemeral"])


async def test_who_asks_for_all_state_again_hears_that_nobody_types_any_more(alice: Follower, bob: Follower) -> None:
    room = await room_of(alice, bob)
    await bob.put(f"/v3/rooms/{room}/typing/{bob.user_id}", {"typing": True, "timeout": 30000})
    await alice.sync()
    await bob.put(f"/v3/rooms/{room}/typing/{bob.user_id}", {"typing": False})
    (typing,) = joined(await alice.news(full_state=True), room)["ephemeral"]["events"]
    assert typing["content"] == {"user_ids": []}
    assert "ephemeral" not in joined(await alice.sync(), room)


async def test_strangers_can_neither_type_nor_read(alice: Follower, carol: Follower) -> None:
    room = await room_of(alice)
    event_id = await alice.say(room, "private")
    refusals = [
        await carol.refused("PUT", f"/v3/rooms/{room}/typing/{carol.user_id}", {"typing": True}),
        await carol.refused("POST", f"/v3/rooms/{room}/receipt/m.read/{event_id}", {}),
        await carol.refused("POST", f"/v3/rooms/{room}/read_markers", {"m.fully_read": event_id}),
    ]
    assert refusals == [(403, "M_FORBIDDEN")] * 3
    assert (await alice.refused("PUT", f"/v3/rooms/{room}/typing/{carol.user_id}", {"typing": True}))[0] == 403


async def test_unread_notifications_are_counted_until_they_are_read(alice: Follower, bob: Follower) -> None:
    room = await room_of(alice, bob)
    await bob.say(room, "here I am")
    await bob.sync()
    await alice.say(room, "one")
    second = await alice.say(room, "two", **{"m.mentions": {"user_ids": [bob.user_id]}})
    counts = joined(await bob.news(), room)["unread_notifications"]
    assert counts == {"notification_count": 2, "highlight_count": 1}
    await bob.post(f"/v3/rooms/{room}/receipt/m.read.private/{second}", {})
    counts = joined(await bob.news(), room)["unread_notifications"]
    assert counts == {"notification_count": 0, "highlight_count": 0}
    await alice.say(room, "three")
    assert joined(await bob.news(), room)["unread_notifications"]["notification_count"] == 1
    await bob.say(room, "an answer")
    assert joined(await bob.news(), room)["unread_notifications"]["notification_count"] == 0


async def test_threads_are_counted_by_themselves_where_wanted(alice: Follower, bob: Follower) -> None:
    room = await room_of(alice, bob)
    root = await alice.say(room, "root")
    relation = {"rel_type": "m.thread", "event_id": root}
    in_thread = await alice.say(room, "in the thread", **{"m.relates_to": relation})
    told = joined(await bob.sync(room={"timeline": {"unread_thread_notifications": True}}), room)
    assert told["unread_notifications"]["notification_count"] == 1
    assert told["unread_thread_notifications"][root]["notification_count"] == 1
    assert joined(await bob.sync(), room)["unread_notifications"]["notification_count"] == 2
    await bob.post(f"/v3/rooms/{room}/receipt/m.read/{in_thread}", {"thread_id": root})
    told = joined(await bob.sync(room={"timeline": {"unread_thread_notifications": True}}), room)
    assert told["unread_notifications"]["notification_count"] == 1
    assert told["unread_thread_notifications"] == {}
    refusal = await bob.refused("POST", f"/v3/rooms/{room}/receipt/m.read/{in_thread}", {"thread_id": "main"})
    assert refusal == (400, "M_INVALID_PARAM")


async def test_lazily_loaded_members_are_told_when_they_speak(alice: Follower, bob: Follower, carol: Follower) -> None:
    room = await room_of(alice, bob, carol)
    for number in range(12):
        await alice.say(room, f"{number}")
    lazily: dict[str, Any] = {"room": {"state": {"lazy_load_members": True}}}
    told = joined(await bob.sync(**lazily), room)
    members = {key for key in keys(told) if key[0] == "m.room.member"}
    assert members >= {("m.room.member", alice.user_id), ("m.room.member", bob.user_id)}
    await alice.say(room, "known already")
    assert "state" not in joined(await bob.news(**lazily), room)
    redundantly: dict[str, Any] = {"room": {"state": {"lazy_load_members": True, "include_redundant_members": True}}}
    await alice.say(room, "told again")
    assert keys(joined(await bob.news(**redundantly), room)) == {("m.room.member", alice.user_id)}


async def test_a_filter_that_lets_little_through_reaches_back(alice: Follower) -> None:
    room = await room_of(alice)
    await alice.put(f"/v3/rooms/{room}/send/org.example.rare/x", {"n": 1})
    for number in range(30):
        await alice.say(room, f"{number}")
    told = joined(await alice.sync(room={"timeline": {"types": ["org.example.rare"], "limit": 1}}), room)
    assert [event["type"] for event in told["timeline"]["events"]] == ["org.example.rare"]


async def test_the_fully_read_marker_is_account_data(alice: Follower) -> None:
    room = await room_of(alice)
    event_id = await alice.say(room, "read")
    await alice.sync()
    await alice.post(f"/v3/rooms/{room}/read_markers", {"m.fully_read": event_id, "m.read": event_id})
    news = joined(await alice.news(), room)
    assert news["account_data"]["events"] == [{"type": "m.fully_read", "content": {"event_id": event_id}}]
    assert (await alice.refused("POST", f"/v3/rooms/{room}/read_markers", {"m.read": "$nothing"}))[0] == 400


@pytest.mark.parametrize("token", ["garbage", "s1_-1", "s1_999999999", "", "s1_1e9"])
async def test_positions_that_were_never_given_out_are_refused_at_once(alice: Follower, token: str) -> None:
    with trio.fail_after(20), pytest.raises(InvalidParam):
        await alice.sync(since=token, wait=30)


async def test_presence_is_told_to_those_who_share_a_room(alice: Follower, bob: Follower, carol: Follower) -> None:
    await room_of(alice, bob)
    for follower in (alice, bob, carol):
        await follower.sync()
    await alice.put(f"/v3/presence/{alice.user_id}/status", {"presence": "online", "status_msg": "here"})
    (event,) = (await bob.news(wait=5))["presence"]["events"]
    assert (event["sender"], event["content"]["status_msg"]) == (alice.user_id, "here")
    assert "presence" not in await carol.news()
    assert (await bob.get(f"/v3/presence/{alice.user_id}/status"))["presence"] == "online"
    assert (await carol.refused("GET", f"/v3/presence/{alice.user_id}/status")) == (403, "M_FORBIDDEN")


async def test_who_accepts_no_invitations_is_not_told_of_older_ones(alice: Follower, bob: Follower) -> None:
    room = await alice.create_room()
    await alice.invite(room, bob)
    assert room in (await bob.sync())["rooms"]["invite"]
    await bob.set_account_data("m.invite_permission_config", {"default_action": "block"})
    assert "rooms" not in await bob.sync()
    await bob.set_account_data("m.invite_permission_config", {})
    assert room in (await bob.sync())["rooms"]["invite"]
