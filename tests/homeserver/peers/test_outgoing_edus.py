"""What passes here is told elsewhere: receipts for sure, typing and presence while it is news."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import trio

from tests.homeserver.peers.post import Branch, Peer, Post, arrive, branch
from tests.homeserver.rooms.foreign import ELSEWHERE, ZOE, Foreign
from tests.homeserver.rooms.house import ALICE, BOB, SERVER, opened_house
from tricord.homeserver.peers.outbox import Outbox
from tricord.homeserver.peers.outgoing_edus import receipt_edus
from tricord.homeserver.rooms.receipts import READ, READ_PRIVATE, Receipts
from tricord.homeserver.rooms.stored_event import StoredEvent
from tricord.homeserver.rooms.typing import Typing
from tricord.homeserver.storage.database import Transaction
from tricord.homeserver.storage.destinations import Progress
from tricord.homeserver.storage.presence import Presence, put_presence
from tricord.homeserver.storage.receipts import UNTHREADED, Receipt, receipts_between
from tricord.homeserver.storage.stream import take_positions
from tricord.homeserver.stream.publisher import Commit
from tricord.protocol.identifiers import EventId, RoomId, ServerName, UserId, server_name_of

FAR = ServerName("far.test")
FAR_ZOE = UserId(f"@zoe:{FAR}")


def receipt(
    user_id: UserId, stored: StoredEvent, kind: str = READ, thread: str = UNTHREADED, *, ts: int = 5
) -> Receipt:
    room_id = stored.event.room_id
    return Receipt(room_id, user_id, kind, thread, stored.event.event_id, stored.position, ts, position=0)


async def shared_room(here: Branch) -> RoomId:
    room_id = await here.house.create()
    await here.joins(room_id, ZOE)
    return room_id


async def reached_room(here: Branch, *guests: UserId) -> RoomId:
    """Return a room whose servers are being sent to by now: what passes is for nobody else."""
    room_id = await here.house.create()
    await here.joins(room_id, *guests)
    await here.say_all(room_id, "welcome")
    peers = [here.post[server_name_of(guest)] for guest in guests]
    await here.post.until(lambda: all("welcome" in peer.heard for peer in peers))
    return room_id


async def test_public_receipts_of_our_users_are_told_and_no_others(database_url: str) -> None:
    async with branch(database_url, Post()) as here:
        receipts = Receipts(here.house.database, here.house.publisher)
        alone = await here.house.create()
        room_id = await shared_room(here)
        (said,) = await here.say_all(room_id, "read this")
        await receipts.move(receipt(ALICE, said, READ_PRIVATE))
        await receipts.move(receipt(ZOE, said))
        await receipts.move(receipt(ALICE, await here.house.say(alone, "to myself")))
        await receipts.move(receipt(BOB, said))
        elsewhere = here.post[ELSEWHERE]
        await here.post.until(lambda: elsewhere.edus("m.receipt"))
        await here.say_all(room_id, "end")
        await here.post.until(lambda: "end" in elsewhere.heard)
        told = {"event_ids": [said.event.event_id], "data": {"ts": 5}}
        assert elsewhere.edus("m.receipt") == [{room_id: {"m.read": {BOB: told}}}]


async def test_receipts_are_told_after_an_outage_and_a_restart_the_last_of_each(database_url: str) -> None:
    post = Post()
    elsewhere = post[ELSEWHERE]
    elsewhere.is_there = False
    async with branch(database_url, post) as here:
        receipts = Receipts(here.house.database, here.house.publisher)
        room_id = await shared_room(here)
        said = await here.say_all(room_id, *(f"{number}" for number in range(5)))
        for one in said:
            await receipts.move(receipt(ALICE, one))
        await post.until(lambda: len(elsewhere.attempts) > 2)
    async with branch(database_url, post):
        elsewhere.is_there = True
        await post.until(lambda: elsewhere.edus("m.receipt"))
    told = elsewhere.edus("m.receipt")[-1][room_id]["m.read"]
    assert told[ALICE]["event_ids"] == [said[-1].event.event_id]
    assert elsewhere.heard == ["0", "1", "2", "3", "4"]


async def test_a_receipt_that_was_read_before_it_was_handed_over_is_told_once(database_url: str) -> None:
    async with opened_house(database_url) as house:
        outbox = Outbox(ELSEWHERE, SERVER, progress=Progress(ELSEWHERE, 0, 0))
        receipts = Receipts(house.database, house.publisher)
        room_id = await house.create()
        await arrive(house, room_id, await Foreign(house, room_id).joins(ZOE))
        said = await house.say(room_id, "read this")
        await receipts.move(receipt(BOB, said))
        departure = await outbox.next_departure(house.database, lambda: house.publisher.position, now_ms=0)
        assert departure is not None
        assert [edu["edu_type"] for edu in departure.parcel.edus] == ["m.receipt"]
        outbox.progress = departure.progress
        (told,) = await house.database.read(receipts_between, [room_id], 0, house.publisher.position)
        outbox.add_receipt(told)
        assert outbox.is_empty
        outbox.add_receipt(replace(told, position=told.position + 1))
        assert not outbox.is_empty


def test_receipts_of_several_threads_take_several_edus() -> None:
    room_id = RoomId("!r:hs")
    threads = [UNTHREADED, "main", "$root"]
    edus = list(
        receipt_edus(
            Receipt(room_id, user, READ, thread, EventId("$e"), 1, 5, 1) for user in (ALICE, BOB) for thread in threads
        )
    )
    assert [list(edu["content"][room_id]["m.read"]) for edu in edus] == [[ALICE, BOB]] * 3
    assert [edu["content"][room_id]["m.read"][BOB]["data"].get("thread_id") for edu in edus] == [None, "main", "$root"]


def told_of_typing(peer: Peer, times: int) -> Callable[[], bool]:
    return lambda: len(peer.edus("m.typing")) >= times


async def test_who_begins_and_stops_typing_is_told(database_url: str) -> None:
    async with branch(database_url, Post()) as here:
        typing = Typing(here.house.database, here.house.publisher, here.house.clock)
        room_id = await reached_room(here, ZOE)
        elsewhere = here.post[ELSEWHERE]
        await typing.start(room_id, ZOE)
        for count in (1, 3):
            await typing.start(room_id, ALICE)
            await here.post.until(told_of_typing(elsewhere, count))
            await typing.stop(room_id, ALICE)
            await here.post.until(told_of_typing(elsewhere, count + 1))
        told = elsewhere.edus("m.typing")
        assert told[0] == {"room_id": room_id, "user_id": ALICE, "typing": True}
        assert [one["typing"] for one in told] == [True, False, True, False]


async def test_typing_is_not_told_late(database_url: str) -> None:
    async with branch(database_url, Post()) as here:
        typing = Typing(here.house.database, here.house.publisher, here.house.clock)
        room_id = await reached_room(here, ZOE, FAR_ZOE)
        elsewhere, far = here.post[ELSEWHERE], here.post[FAR]
        elsewhere.is_there = False
        reached = len(elsewhere.attempts)
        await here.say_all(room_id, "are you there?")
        await here.post.until(lambda: len(elsewhere.attempts) > reached)
        await typing.start(room_id, ALICE)
        # It waits for both servers as soon as it waits for one.
        await here.post.until(told_of_typing(far, 1))
        # The next attempt fails with it waiting, and has failed when there is another.
        failed = len(elsewhere.attempts)
        await here.post.until(lambda: len(elsewhere.attempts) >= failed + 2)
        elsewhere.is_there = True
        await here.post.until(lambda: "are you there?" in elsewhere.heard)
        await here.say_all(room_id, "good")
        await here.post.until(lambda: "good" in elsewhere.heard)
        assert elsewhere.edus("m.typing") == []


async def told_presence(here: Branch, *presences: Presence) -> None:
    async def put(tx: Transaction) -> int:
        position = await take_positions(tx, 1)
        await put_presence(tx, [replace(presence, position=position) for presence in presences])
        return position

    position = await here.house.database.run(put)
    rooms_of = await here.house.memberships.joined_rooms_of({presence.user_id for presence in presences})
    seen_in = frozenset[RoomId]().union(*rooms_of.values())
    here.house.publisher.publish(Commit(position, frozenset(), frozenset(), presence_in=seen_in))


async def test_presence_of_our_users_is_told_where_they_are_known(database_url: str) -> None:
    async with branch(database_url, Post()) as here:
        await reached_room(here, ZOE)
        await here.house.create(creator=BOB)
        await told_presence(
            here,
            *(Presence(user, "online", "hi", here.house.clock.now, True, 0) for user in (ALICE, BOB, ZOE)),
        )
        elsewhere = here.post[ELSEWHERE]
        await here.post.until(lambda: elsewhere.edus("m.presence"))
        (content,) = elsewhere.edus("m.presence")
        (push,) = content["push"]
        assert (push["user_id"], push["presence"], push["status_msg"]) == (ALICE, "online", "hi")
        assert push["currently_active"]
        assert push["last_active_ago"] >= 0


async def test_presence_is_not_told_where_that_is_switched_off(database_url: str) -> None:
    async with branch(database_url, Post(), sends_presence=False) as here:
        room_id = await reached_room(here, ZOE)
        await told_presence(here, Presence(ALICE, "online", None, 1, True, 0))
        await trio.sleep(1.2)
        await here.say_all(room_id, "end")
        elsewhere = here.post[ELSEWHERE]
        await here.post.until(lambda: "end" in elsewhere.heard)
        assert elsewhere.edus("m.presence") == []


async def test_the_same_said_twice_goes_in_two_transactions(database_url: str) -> None:
    async with branch(database_url, Post()) as here:
        typing = Typing(here.house.database, here.house.publisher, here.house.clock)
        room_id = await reached_room(here, ZOE)
        elsewhere = here.post[ELSEWHERE]
        for count in (1, 3, 5):
            await typing.start(room_id, ALICE)
            await here.post.until(told_of_typing(elsewhere, count))
            await typing.stop(room_id, ALICE)
            await here.post.until(told_of_typing(elsewhere, count + 1))
        ids = [one.transaction_id for one in elsewhere.got]
        assert len(set(ids)) == len(ids)
        assert all(one["typing"] != other["typing"] for one, other in pairwise(elsewhere.edus("m.typing")))
