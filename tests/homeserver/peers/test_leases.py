"""Processes share work: each part is one's alone, nobody has more than a share, and nothing stays undone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio

from tricord.homeserver.peers.leases import PARTS, Leases, part_of
from tricord.homeserver.storage.database import Database, Transaction, open_database

KIND = 7


@dataclass
class Worker:
    """A process that shares work."""

    leases: Leases
    changes: int = 0
    _changed: trio.Event = field(default_factory=trio.Event)

    def note(self) -> None:
        self.changes += 1
        self._changed.set()
        self._changed = trio.Event()

    async def until(self, happened: Callable[[], bool]) -> None:
        with trio.fail_after(60):
            while not happened():
                await self._changed.wait()


@asynccontextmanager
async def worker(url: str, kind: int = KIND) -> AsyncIterator[Worker]:
    async with open_database(url) as database, trio.open_nursery() as nursery:
        found = Worker(Leases(database, kind, look_seconds=0.05))
        nursery.start_soon(found.leases.run, found.note)
        yield found
        nursery.cancel_scope.cancel()


async def test_one_process_does_everything_at_once(database_url: str) -> None:
    async with worker(database_url) as alone:
        await alone.until(lambda: len(alone.leases.held) == PARTS)
        assert alone.changes == 1
        assert alone.leases.covers("anything.test")


async def test_processes_share_and_one_that_ends_leaves_its_parts_to_the_others(database_url: str) -> None:
    async with worker(database_url) as first:
        await first.until(lambda: len(first.leases.held) == PARTS)
        async with worker(database_url) as second:
            await second.until(lambda: len(second.leases.held) == PARTS // 2)
            assert len(first.leases.held) == PARTS // 2
            assert not first.leases.held & second.leases.held
            async with worker(database_url) as third:
                share = -(-PARTS // 3)
                await third.until(lambda: len(third.leases.held) >= PARTS - 2 * share)
                assert len(first.leases.held) <= share
                assert len(second.leases.held) <= share
        await first.until(lambda: len(first.leases.held) == PARTS)


async def test_different_work_is_shared_by_itself(database_url: str) -> None:
    async with worker(database_url) as one, worker(database_url, kind=KIND + 1) as other:
        await one.until(lambda: len(one.leases.held) == PARTS)
        await other.until(lambda: len(other.leases.held) == PARTS)


async def test_a_lost_connection_loses_the_leases_and_a_new_one_takes_them_again(
    database_url: str, database: Database
) -> None:
    async def cut(tx: Transaction) -> None:
        await tx.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'tricord session' AND datname = current_database()"
        )

    async with worker(database_url) as alone:
        await alone.until(lambda: len(alone.leases.held) == PARTS)
        await database.read(cut)
        await alone.until(lambda: not alone.leases.held)
        await alone.until(lambda: len(alone.leases.held) == PARTS)


def test_a_name_belongs_to_the_same_part_everywhere() -> None:
    assert part_of("matrix.org") == 58
    assert {part_of(f"s{number}.test") for number in range(2000)} == set(range(PARTS))
