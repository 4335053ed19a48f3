"""A pool on a PostgreSQL that stops, starts, and ends connections."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import pytest
import trio
import trio.testing

from tests.homeserver.storage.limits import role_limited_to
from tests.homeserver.storage.watching import Heard, becomes, watching
from tests.postgres import FAST
from tricord.homeserver.storage.database import Database, Transaction, open_database
from tricord.homeserver.storage.embedded import embedded_postgres
from tricord.homeserver.storage.errors import DatabaseUnavailable
from tricord.homeserver.storage.pool import _UNUSED_MINUTES, Pool


async def test_connections_are_lent_in_order_of_arrival_and_kept(database_url: str) -> None:
    pool = Pool(database_url, size=3)
    order: list[int] = []

    async def use(number: int) -> None:
        async with pool.connection() as connection:
            order.append(number)
            await connection.execute("SELECT pg_sleep(0.01)")

    async with pool.connection(), pool.connection(), pool.connection():
        assert (pool.in_use, pool.idle) == (3, 0)
    async with trio.open_nursery() as nursery:
        for number in range(12):
            nursery.start_soon(use, number)
            await trio.testing.wait_all_tasks_blocked()
    assert sorted(order) == list(range(12))
    # Trio shuffles those who got one of the three in the same turn.
    assert all(abs(place - number) < 3 for place, number in enumerate(order))
    assert (pool.in_use, pool.idle, pool.waiting) == (0, 3, 0)
    async with watching(database_url) as watcher:
        assert await watcher.sessions() == 3
        await pool.aclose()
        await becomes(watcher.sessions, 0)


async def test_one_task_may_hold_several_connections(database: Database) -> None:
    async with database.transaction() as one, database.transaction() as other:
        assert await one.fetchval("SELECT pg_backend_pid()") != await other.fetchval("SELECT pg_backend_pid()")


async def test_work_goes_to_the_connection_that_has_done_the_like_of_it(database_url: str) -> None:
    pool = Pool(database_url, size=3)
    async with pool.connection("rare"), pool.connection("other") as other, pool.connection("other") as last:
        pass
    async with pool.connection("rare") as rare:
        assert rare not in (other, last)
    async with pool.connection("other") as again:
        # Its nearest kin is the one used last of those that know the work.
        assert again is other
        async with pool.connection("rare") as same, pool.connection("new") as left:
            assert (same, left) == (rare, last)
    async with pool.connection("unheard of") as any_one:
        assert any_one is again
    await pool.aclose()


async def test_functions_within_functions_are_the_same_work_every_time(database: Database) -> None:
    async def backend() -> int:
        async def read(tx: Transaction) -> int:
            number: int = await tx.fetchval("SELECT pg_backend_pid()")
            return number

        return await database.read(read)

    async with database.transaction(), database.transaction():
        first = await backend()
    assert database.pool.idle == 3
    assert await backend() == first


async def test_connections_that_nobody_needs_for_some_minutes_are_closed(database_url: str) -> None:
    pool = Pool(database_url, size=6)
    async with watching(database_url) as watcher, contextlib.AsyncExitStack() as lent:
        for _ in range(6):
            await lent.enter_async_context(pool.connection())
        await lent.aclose()
        for needed, kept in ((6, 6), (4, 4), (0, 2)):
            for _ in range(_UNUSED_MINUTES):
                assert await watcher.sessions() >= kept
                async with contextlib.AsyncExitStack() as again:
                    for _ in range(needed):
                        await again.enter_async_context(pool.connection())
                pool.let_go()
            await becomes(watcher.sessions, kept)
        async with pool.connection() as connection:
            assert await connection.fetchval("SELECT 1") == 1
        await pool.aclose()


async def test_where_postgresql_allows_fewer_connections_they_are_shared(database: Database, database_url: str) -> None:
    async with role_limited_to(2, database, database_url) as (url, limit):
        pool = Pool(url, size=6)

        async def use() -> None:
            async with pool.connection() as connection:
                await connection.execute("SELECT pg_sleep(0.001)")

        async def waiting() -> int:
            return pool.waiting

        async with trio.open_nursery() as nursery, pool.connection(), pool.connection():
            for _ in range(18):
                nursery.start_soon(use)
            await becomes(waiting, 18)
            assert pool.in_use == 2
        assert (pool.in_use, pool.idle, pool.waiting) == (0, 2, 0)
        # A minute later there may be more.
        await limit(6)
        pool.let_go()
        async with contextlib.AsyncExitStack() as lent:
            for _ in range(6):
                await lent.enter_async_context(pool.connection())
        assert (pool.in_use, pool.idle) == (0, 6)
        await pool.aclose()


async def test_who_waits_in_vain_for_a_connection_leaves_its_place_to_others(
    database: Database, database_url: str
) -> None:
    async with role_limited_to(1, database, database_url) as (url, _):
        pool = Pool(url, size=2)
        async with pool.connection():
            with trio.move_on_after(0.1) as patience:
                async with pool.connection():
                    pass
            assert patience.cancelled_caught
            assert (pool.in_use, pool.waiting) == (1, 0)
        pool.let_go()
        async with pool.connection() as connection:
            assert (pool.in_use, await connection.fetchval("SELECT 1")) == (1, 1)
        await pool.aclose()


async def test_if_others_have_all_connections_the_database_is_unavailable(
    database: Database, database_url: str
) -> None:
    async with role_limited_to(1, database, database_url) as (url, _):
        other, pool = Pool(url, size=1), Pool(url, size=2)
        async with other.connection():
            with pytest.raises(DatabaseUnavailable, match="too many connections"):
                async with pool.connection():
                    pass
            assert pool.in_use == 0
        await other.aclose()


async def test_connections_that_were_ended_while_idle_are_replaced_without_an_error(
    database: Database, database_url: str
) -> None:
    await use_at_once(database, 5)
    assert database.pool.idle == 5
    async with watching(database_url) as watcher:
        await watcher.terminate_others()
    await use_at_once(database, 5)
    assert database.pool.idle == 5


async def test_a_backend_that_is_killed_takes_only_its_own_query_along(database: Database, database_url: str) -> None:
    async with watching(database_url) as watcher, trio.open_nursery() as nursery:

        async def interrupted() -> None:
            with pytest.raises(DatabaseUnavailable):
                await database.read(sleep, 60)

        nursery.start_soon(interrupted)
        nursery.start_soon(interrupted)
        await becomes(lambda: watcher.running("pg_sleep"), 2)
        await watcher.terminate_others()
    assert (database.pool.in_use, database.pool.idle) == (0, 0)
    await use_at_once(database, 5)


async def test_a_pool_that_is_closed_closes_what_comes_back(database_url: str) -> None:
    async with watching(database_url) as watcher:
        pool = Pool(database_url, size=2)
        async with pool.connection() as connection:
            await pool.aclose()
            assert await connection.fetchval("SELECT 1") == 1
        assert connection.is_closed
        await becomes(watcher.sessions, 0)


async def test_a_transaction_left_open_does_not_reach_the_next_user(database_url: str) -> None:
    pool = Pool(database_url, size=1)
    async with pool.connection() as connection:
        await connection.execute("BEGIN")
        await connection.execute("CREATE TABLE never (number int)")
    async with pool.connection() as again:
        assert again is connection
        assert not again.is_in_transaction
        assert await again.fetchval("SELECT to_regclass('never')") is None
    await pool.aclose()


async def test_when_postgresql_has_been_stopped_and_started_everything_works_again(
    tmp_path: Path, nursery: trio.Nursery
) -> None:
    heard = Heard()

    async def interrupted(database: Database) -> None:
        with pytest.raises(DatabaseUnavailable):
            await database.read(sleep, 60)
        outcome.append("interrupted")

    outcome: list[str] = []
    async with embedded_postgres(tmp_path, options=FAST) as url:
        database = await listening(nursery, url, heard)
        await use_at_once(database, 4)
        nursery.start_soon(interrupted, database)
        await trio.testing.wait_all_tasks_blocked()
    await trio.testing.wait_all_tasks_blocked()
    assert outcome == ["interrupted"]
    with pytest.raises(DatabaseUnavailable):
        await database.read(sleep, 0)
    async with embedded_postgres(tmp_path, options=FAST):
        await use_at_once(database, 4)
        await heard.holds("")
        await database.notify("news", "again")
        await heard.holds("", "again")
        nursery.cancel_scope.cancel()


async def test_when_postgresql_has_crashed_it_is_unavailable_and_then_works_again(tmp_path: Path) -> None:
    async with embedded_postgres(tmp_path, options=FAST) as url, open_database(url, connections=4) as database:
        await use_at_once(database, 4)
        with pytest.raises(DatabaseUnavailable):
            await database.run(kill_a_backend)
        with trio.fail_after(60):
            while True:
                try:
                    await use_at_once(database, 4)
                except* DatabaseUnavailable:
                    await trio.sleep(0.01)
                else:
                    break


async def use_at_once(database: Database, count: int) -> None:
    """Use several connections, at the same time, with no error."""
    together = trio.Event()
    arrived = 0

    async def use() -> None:
        nonlocal arrived
        async with database.transaction() as tx:
            await tx.fetchval("SELECT 1")
            arrived += 1
            if arrived == count:
                together.set()
            await together.wait()

    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(use)


async def sleep(tx: Transaction, seconds: float) -> None:
    await tx.execute("SELECT pg_sleep($1)", seconds)


async def kill_a_backend(tx: Transaction) -> None:
    os.kill(await tx.fetchval("SELECT pg_backend_pid()"), signal.SIGKILL)
    await sleep(tx, 60)


async def listening(nursery: trio.Nursery, url: str, heard: Heard) -> Database:
    database = Database(url, connections=4)
    database.listen("news", heard.take)
    await nursery.start(database.run_listeners)
    return database
