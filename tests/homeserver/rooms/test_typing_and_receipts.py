"""Typing and receipts, down to their tables."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import trio

from tests.homeserver.late_answers import LateAnswers
from tricord.homeserver.rooms.receipts import READ, READ_PRIVATE, Receipts, shown_to
from tricord.homeserver.rooms.typing import Typing
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.receipts import UNTHREADED, Receipt, receipts_between, receipts_of_user
from tricord.homeserver.storage.typing import next_typing_end, typing_changes, typing_in
from tricord.homeserver.stream.publisher import Publisher
from tricord.homeserver.stream.recent_changes import RecentChanges
from tricord.protocol.identifiers import EventId, RoomId, UserId

ROOM = RoomId("!r:hs")
ALICE, BOB = UserId("@alice:hs"), UserId("@bob:hs")


class TrioClock:
    def now_ms(self) -> int:
        return int(trio.current_time() * 1000)


@dataclass
class Parts:
    database: Database
    publisher: Publisher
    changes: RecentChanges


@pytest.fixture
async def parts(database: Database) -> Parts:
    publisher = Publisher(database, 0)
    return Parts(database, publisher, RecentChanges(publisher))


def receipt(user_id: UserId, at: int, *, kind: str = READ, thread: str = UNTHREADED, room_id: RoomId = ROOM) -> Receipt:
    return Receipt(room_id, user_id, kind, thread, EventId(f"${at}"), at, received_ts=1, position=0)


async def read_upto(parts: Parts, user_id: UserId) -> dict[tuple[str, str], str]:
    found = await parts.database.read(receipts_of_user, user_id, [ROOM])
    return {(one.receipt_type, one.thread_id): one.event_id for one in found}


async def test_a_newer_receipt_replaces_an_older_one_and_never_the_other_way(parts: Parts) -> None:
    receipts = Receipts(parts.database, parts.publisher)
    assert await receipts.move(receipt(ALICE, 5))
    assert not await receipts.move(receipt(ALICE, 5))
    assert not await receipts.move(receipt(ALICE, 3))
    assert await receipts.move(receipt(ALICE, 7))
    assert await read_upto(parts, ALICE) == {(READ, UNTHREADED): "$7"}
    assert parts.publisher.position == 2


async def test_receipts_of_threads_and_private_ones_stand_side_by_side(parts: Parts) -> None:
    receipts = Receipts(parts.database, parts.publisher)
    await receipts.move(receipt(ALICE, 5))
    await receipts.move(receipt(ALICE, 4, thread="main"))
    await receipts.move(receipt(ALICE, 6, kind=READ_PRIVATE))
    assert len(await read_upto(parts, ALICE)) == 3


async def test_receipts_sent_together_are_written_together(parts: Parts) -> None:
    receipts = Receipts(parts.database, parts.publisher)
    users = [UserId(f"@{number}:hs") for number in range(30)]
    async with trio.open_nursery() as nursery:
        for user_id in users:
            nursery.start_soon(receipts.move, receipt(user_id, 5))
            nursery.start_soon(receipts.move, receipt(user_id, 6))
    found = await parts.database.read(receipts_between, [ROOM], 0, 1000)
    assert {(one.user_id, one.event_id) for one in found} == {(user_id, "$6") for user_id in users}
    assert parts.publisher.position < 30
    assert parts.changes.passing_changed(ROOM, 0)
    assert not parts.changes.passing_changed(ROOM, parts.publisher.position)


def test_receipts_are_shown_but_for_private_ones_and_those_of_ignored_people() -> None:
    both = [receipt(ALICE, 5, kind=READ_PRIVATE), receipt(ALICE, 4)]
    assert shown_to(ALICE, both, ()) == both
    assert shown_to(ALICE, both, {ALICE}) == both
    assert shown_to(BOB, both, ()) == both[1:]
    assert shown_to(BOB, both, {ALICE}) == []


async def typing_now(parts: Parts) -> list[str]:
    return [user_id for _, user_id, _ in await parts.database.read(typing_in, [ROOM])]


async def test_typing_is_told_when_it_begins_and_ends_not_when_it_goes_on(parts: Parts) -> None:
    typing = Typing(parts.database, parts.publisher, TrioClock())
    await typing.start(ROOM, ALICE)
    await typing.start(ROOM, ALICE)
    await typing.start(ROOM, BOB)
    assert parts.publisher.position == 2
    assert await typing_now(parts) == [ALICE, BOB]
    await typing.stop(ROOM, ALICE)
    await typing.stop(ROOM, ALICE)
    assert await typing_now(parts) == [BOB]
    assert await parts.database.read(typing_changes, [ROOM], 0) == {ROOM: 3}


async def test_typing_that_nobody_ends_is_ended(parts: Parts) -> None:
    typing = Typing(parts.database, parts.publisher, TrioClock())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(typing.run)
        await typing.start(ROOM, ALICE, timeout_ms=200)
        await typing.start(ROOM, BOB, timeout_ms=60)
        with trio.fail_after(60), parts.publisher.subscribe(ALICE, [ROOM]) as subscription:
            while await typing_now(parts):
                await subscription.wait()
        nursery.cancel_scope.cancel()
    assert parts.publisher.position == 4


async def test_what_was_typed_before_a_restart_ends_after_it(parts: Parts) -> None:
    await Typing(parts.database, parts.publisher, TrioClock()).start(ROOM, ALICE, timeout_ms=60)
    later = Typing(parts.database, parts.publisher, TrioClock())
    async with trio.open_nursery() as nursery:
        with trio.fail_after(60), parts.publisher.subscribe(ALICE, [ROOM]) as subscription:
            nursery.start_soon(later.run)
            while await typing_now(parts):
                await subscription.wait()
        nursery.cancel_scope.cancel()


async def test_what_is_typed_during_a_start_ends_after_it(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = LateAnswers(parts.database, monkeypatch).next_of(next_typing_end)
    typing = Typing(parts.database, parts.publisher, TrioClock())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(typing.run)
        await answer.is_there.wait()
        await typing.start(ROOM, ALICE, timeout_ms=60)
        answer.go.set()
        with trio.fail_after(60), parts.publisher.subscribe(ALICE, [ROOM]) as subscription:
            while await typing_now(parts):
                await subscription.wait()
        nursery.cancel_scope.cancel()
