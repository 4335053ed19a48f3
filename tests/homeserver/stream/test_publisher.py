"""What processes on one database tell each other of their commits."""

from __future__ import annotations

import itertools
import mmap
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from tricord.homeserver.storage.database import Database, open_database
from tricord.homeserver.storage.errors import DatabaseUnavailable
from tricord.homeserver.storage.stream import take_positions
from tricord.homeserver.stream import siblings as siblings_module
from tricord.homeserver.stream.common_memory import SIZE, CommonMemory
from tricord.homeserver.stream.interests import WAKING
from tricord.homeserver.stream.publisher import Commit, Publisher
from tricord.homeserver.stream.siblings import Siblings
from tricord.protocol.identifiers import RoomId, UserId

ROOM, ALICE = RoomId("!r:hs"), UserId("@alice:hs")


class Heard:
    """How far a publisher is, by its own word."""

    def __init__(self) -> None:
        self._position = 0
        self._moved = trio.Event()

    def note(self, position: int) -> None:
        """Take notice of a position."""
        self._position = max(self._position, position)
        self._moved.set()

    async def until(self, position: int) -> None:
        """Wait for a position."""
        with trio.fail_after(60):
            while self._position < position:
                self._moved = trio.Event()
                await self._moved.wait()


async def running(nursery: trio.Nursery, database: Database, heard: Heard | None = None) -> Publisher:
    """Run the publisher of a process that nothing is known to have been committed to."""
    publisher = Publisher(database, 0)
    if heard is not None:
        publisher.observe(lambda commit: heard.note(commit.position), heard.note)
    await nursery.start(database.run_listeners)
    nursery.start_soon(publisher.run)
    return publisher


async def test_a_process_that_ends_has_told_its_last_commits(database: Database, database_url: str) -> None:
    heard = Heard()
    async with trio.open_nursery() as nursery:
        staying = await running(nursery, database, heard)
        async with open_database(database_url) as elsewhere, trio.open_nursery() as of_leaving:
            leaving = await running(of_leaving, elsewhere)
            await database.run(take_positions, 1)
            leaving.publish(Commit(1, frozenset([ROOM]), frozenset([ALICE])))
            await heard.until(1)
            leaving.publish(Commit(2, frozenset([ROOM]), frozenset([ALICE])))
            # Nothing is run any more: that is how it is when it is cancelled right after a commit.
            of_leaving.cancel_scope.cancel()
            await leaving.close()
        await heard.until(2)
        nursery.cancel_scope.cancel()
    assert staying.position == 2


async def test_who_is_alone_tells_nobody(database: Database, database_url: str) -> None:
    said: list[str] = []
    over = trio.Event()
    async with open_database(database_url) as elsewhere, trio.open_nursery() as nursery:
        elsewhere.listen("tricord_commits", said.append)
        elsewhere.listen("over", lambda _payload: over.set())
        await nursery.start(elsewhere.run_listeners)
        publisher = await running(nursery, database)
        publisher.publish(Commit(1, frozenset([ROOM]), frozenset()))
        await publisher.close()
        # Told in the order of commits: whatever was said comes before this.
        await database.notify("over", "")
        with trio.fail_after(60):
            await over.wait()
        nursery.cancel_scope.cancel()
    assert [payload for payload in said if ROOM in payload] == []


async def test_who_comes_later_hears_of_what_nobody_was_told_before(database: Database, database_url: str) -> None:
    async with trio.open_nursery() as nursery, open_database(database_url) as elsewhere:
        heard_first, heard = Heard(), Heard()
        first = await running(nursery, database, heard_first)
        await database.run(take_positions, 3)
        first.publish(Commit(3, frozenset([ROOM]), frozenset(), count=3))
        # It was opened before that commit, and has begun to listen only now.
        second = await running(nursery, elsewhere, heard)
        await heard.until(3)
        await database.run(take_positions, 1)
        second.publish(Commit(4, frozenset([ROOM]), frozenset()))
        await database.run(take_positions, 1)
        first.publish(Commit(5, frozenset([ROOM]), frozenset()))
        await heard.until(5)
        await heard_first.until(5)
        assert first.position == second.position == 5
        nursery.cancel_scope.cancel()


async def test_who_made_a_commit_goes_on_before_those_who_wait_for_it(database: Database) -> None:
    publisher = Publisher(database, 0)
    for position in range(1, 50):
        went_on: list[str] = []
        committed = trio.Event()

        async def ask(went_on: list[str] = went_on, committed: trio.Event = committed) -> None:
            await committed.wait()
            went_on.append("who asked")

        async def watch(went_on: list[str] = went_on) -> None:
            with publisher.subscribe(ALICE, []) as subscription:
                await subscription.wait()
            went_on.append("who waited")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            nursery.start_soon(watch)
            await trio.testing.wait_all_tasks_blocked()
            publisher.publish(Commit(position, frozenset(), frozenset([ALICE])))
            committed.set()
        assert went_on == ["who asked", "who waited"]


def at(position: int) -> Commit:
    return Commit(position, frozenset([ROOM]), frozenset())


async def test_whoever_comes_while_very_many_are_told_does_not_wait_for_all_of_them(database: Database) -> None:
    publisher, told = Publisher(database, 0), 0

    async def follow() -> None:
        nonlocal told
        with publisher.subscribe(ALICE, [ROOM]) as subscription:
            await subscription.wait()
            told += 1

    async with trio.open_nursery() as nursery:
        for _ in range(1_000):
            nursery.start_soon(follow)
        await trio.testing.wait_all_tasks_blocked()
        publisher.publish(Commit(1, frozenset([ROOM]), frozenset([ALICE])))
        seen = []
        while told < 1_000:
            await trio.lowlevel.checkpoint()
            seen.append(told)
        # They are told in the meantime, and each once.
        assert max(later - earlier for earlier, later in itertools.pairwise([0, *seen])) < 250
        assert seen[-1] == 1_000


async def test_who_watches_more_rooms_is_woken_since_something_may_have_been_published_there(
    database: Database,
) -> None:
    publisher = Publisher(database, 0)
    with publisher.subscribe(ALICE, []) as subscription:
        publisher.publish(at(1))
        await trio.testing.wait_all_tasks_blocked()
        subscription.rooms = frozenset([ROOM])
        with trio.fail_after(60):
            await subscription.wait()
        subscription.rooms = frozenset([ROOM])
        subscription.rooms = frozenset()
        with trio.move_on_after(0) as waiting:
            await subscription.wait()
        assert waiting.cancelled_caught


async def test_who_was_answered_about_a_commit_finds_it_though_an_earlier_one_is_not_published_yet(
    database: Database,
) -> None:
    publisher = Publisher(database, 0)
    publisher.publish(at(2))
    assert publisher.is_behind
    async with trio.open_nursery() as nursery:

        async def ask() -> None:
            await publisher.catch_up()
            assert publisher.position == 2

        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        publisher.publish(at(1))
    assert not publisher.is_behind


async def test_what_nobody_publishes_is_looked_for_however_much_is_published_meanwhile(database: Database) -> None:
    publisher = Publisher(database, 0)
    await database.run(take_positions, 10_000)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(publisher.run)
        with trio.fail_after(60):
            for position in range(2, 10_000):
                publisher.publish(at(position))
                if publisher.position:
                    break
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    assert publisher.position == 10_000


async def test_what_was_missed_is_looked_for_until_the_database_answers(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, failures = database.read, [DatabaseUnavailable("away"), DatabaseUnavailable("still away")]

    async def fail_first(*args: Any) -> Any:
        if failures:
            raise failures.pop()
        return await read(*args)

    monkeypatch.setattr(database, "read", fail_first)
    looked = trio.Event()
    publisher = Publisher(database, 0)
    publisher.observe(lambda _commit: None, lambda _position: looked.set())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(publisher.run)
        publisher._take_notification("")
        with trio.fail_after(60):
            await looked.wait()
        nursery.cancel_scope.cancel()
    assert not failures


async def test_who_awaits_the_next_of_a_room_hears_that_at_once_and_what_was_before_it_when_it_begins(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whoever awaits nothing is not woken while this test lasts.
    monkeypatch.setattr(siblings_module, "_GATHER_SECONDS", 3600)
    memory = mmap.mmap(-1, SIZE)
    parts = [CommonMemory(memory, place, 2) for place in range(2)]
    writing, reading = (Siblings(tmp_path, part) for part in parts)
    writer, reader = (
        Publisher(database, 0, part.frontier, siblings)
        for part, siblings in zip(parts, (writing, reading), strict=True)
    )
    heard = Heard()
    reader.observe(lambda commit: heard.note(commit.position), heard.note)
    async with trio.open_nursery() as nursery:
        await nursery.start(writing.run)
        await nursery.start(reading.run)
        with trio.fail_after(60):
            while not (writing.reached and reading.reached):  # noqa: ASYNC110  # sockets tell nobody but who reads them
                await trio.sleep(0.01)
        reader.await_next([ROOM])
        assert parts[0].interests.elsewhere(ROOM, WAKING) == [1]
        writer.publish(Commit(1, frozenset([ROOM]), frozenset(), has_events=True))
        await heard.until(1)
        assert parts[0].interests.elsewhere(ROOM, WAKING) == []
        writer.publish(Commit(2, frozenset([ROOM]), frozenset(), has_events=True))
        reader.await_next([ROOM])
        assert reader.position == 2
        writer.publish(Commit(3, frozenset([ROOM]), frozenset(), has_events=True))
        with reader.subscribe(ALICE, [ROOM]):
            assert reader.position == 3
        nursery.cancel_scope.cancel()
