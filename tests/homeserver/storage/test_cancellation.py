"""A cancelled task leaves its connection clean, whatever it was at."""

from __future__ import annotations

import random
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

import pytest
import trio
import trio.testing

from tests.homeserver.storage.watching import Watcher, becomes, watching
from tricord.homeserver.storage.connection import Connection
from tricord.homeserver.storage.database import Database, Transaction, open_database

ROWS = [(number, "x" * 100) for number in range(20_000)]
LARGE = "x" * 20_000_000


@pytest.fixture
async def watcher(database_url: str) -> AsyncIterator[Watcher]:
    async with watching(database_url) as watcher:
        yield watcher


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[Connection]:
    connection = await Connection.open(database_url)
    await connection.execute("CREATE TABLE numbers (number bigint, name text)")
    yield connection
    await connection.aclose()


async def locked_insert_of_many(connection: Connection) -> None:
    await connection.executemany("INSERT INTO numbers SELECT $1, $2 FROM pg_sleep(0.01)", ROWS)


async def locked_copy(connection: Connection) -> None:
    await connection.copy_records("numbers", ["number", "name"], ROWS)


async def large_result(connection: Connection) -> None:
    await connection.fetch("SELECT repeat('x', 1000) FROM generate_series(1, 10000000)")


async def large_argument(connection: Connection) -> None:
    await connection.fetch("SELECT length($1), pg_sleep(60)", LARGE)


async def plain_query(connection: Connection) -> None:
    await connection.execute("SELECT pg_sleep(60)")


async def prepared_query(connection: Connection) -> None:
    await connection.fetch("SELECT pg_sleep($1)", 60)


async def query_of_a_locked_table(connection: Connection) -> None:
    await connection.fetch("SELECT number FROM locked WHERE number = $1", 1)


QUERIES = [plain_query, prepared_query, large_result, large_argument, locked_insert_of_many]


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("seconds", [0, 0.002, 0.05, 0.3])
async def test_a_cancelled_query_ends_at_once_and_its_connection_answers_the_next(
    connection: Connection, watcher: Watcher, query: Callable[[Connection], Awaitable[None]], seconds: float
) -> None:
    with trio.fail_after(60):
        with trio.move_on_after(seconds) as patience:
            await query(connection)
        assert patience.cancelled_caught
        assert await connection.fetchval("SELECT 41 + $1::int", 1) == 42
    assert not connection.is_in_transaction
    assert await watcher.running("pg_sleep") == 0
    await becomes(watcher.locks, 0)


async def test_a_query_that_waits_for_a_lock_can_be_cancelled(
    connection: Connection, database: Database, watcher: Watcher
) -> None:
    await connection.execute("CREATE TABLE locked (number bigint)")
    async with database.transaction() as tx:
        await tx.execute("LOCK TABLE locked, numbers")
        for act in (query_of_a_locked_table, locked_copy):
            with trio.fail_after(60):
                with trio.move_on_after(0.1) as patience:
                    await act(connection)
                assert patience.cancelled_caught
                assert await connection.fetchval("SELECT 1") == 1
    await becomes(watcher.locks, 0)
    await locked_copy(connection)
    assert await connection.fetchval("SELECT count(*) FROM numbers") == len(ROWS)


async def test_a_cancelled_statement_with_many_rows_of_arguments_wrote_none_of_them(
    connection: Connection,
) -> None:
    async with connection.transaction():
        await connection.execute("INSERT INTO numbers VALUES (1, 'one')")
    with trio.move_on_after(0.03) as patience:
        async with connection.transaction():
            await locked_insert_of_many(connection)
    assert patience.cancelled_caught
    assert await connection.fetchval("SELECT count(*) FROM numbers") == 1


async def test_connecting_can_be_cancelled(database_url: str, watcher: Watcher) -> None:
    for _ in range(20):
        with trio.move_on_after(random.uniform(0, 0.005)):
            connection = await Connection.open(database_url)
            connection.terminate()
    await becomes(watcher.sessions, 0)


async def test_a_server_that_never_answers_does_not_hold_a_cancelled_task_for_long() -> None:
    listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
    port = listener.socket.getsockname()[1]
    began = trio.current_time()
    async with open_database(f"postgresql://somebody:secret@127.0.0.1:{port}/nothing") as database:
        with trio.move_on_after(0.1):
            await database.read(one)
        assert database.pool.in_use == 0
    assert trio.current_time() - began < 8
    await listener.aclose()


async def test_who_waits_for_a_connection_can_give_up_and_others_keep_their_order(database_url: str) -> None:
    arrived: list[int] = []

    async def use(database: Database, number: int) -> None:
        async with database.transaction() as tx:
            arrived.append(number)
            await tx.fetchval("SELECT 1")

    async with open_database(database_url, connections=1) as database:
        async with trio.open_nursery() as nursery, database.transaction():
            for number in range(10):
                nursery.start_soon(use, database, number)
                await trio.testing.wait_all_tasks_blocked()
                if number % 3 == 0:
                    with trio.move_on_after(0.001) as patience:
                        await use(database, -1)
                    assert patience.cancelled_caught
            assert database.pool.waiting == 10
        assert arrived == list(range(10))
        assert (database.pool.in_use, database.pool.idle, database.pool.waiting) == (0, 1, 0)


@pytest.mark.parametrize("seed", range(4))
async def test_cancelled_at_any_moment_a_transaction_is_whole_or_nothing_and_leaves_no_trace(
    database_url: str, watcher: Watcher, seed: int
) -> None:
    moments = random.Random(seed)
    committed = 0

    async def write(number: int) -> None:
        nonlocal committed
        with trio.move_on_after(moments.uniform(0, 0.012)):
            async with database.transaction() as tx:
                await tx.execute("INSERT INTO pairs VALUES ($1)", number)
                async with tx.savepoint():
                    await tx.executemany("INSERT INTO pairs VALUES ($1)", [(-number,)])
                await tx.fetch(moments.choice(["SELECT 1", "SELECT pg_sleep(0.002)", "SELECT repeat('x', 100000)"]))
            committed += 1

    async with open_database(database_url, connections=4) as database:
        async with database.transaction() as tx:
            await tx.execute("CREATE TABLE pairs (number bigint PRIMARY KEY)")
        for first in range(1, 400, 8):
            async with trio.open_nursery() as nursery:
                for number in range(first, first + 8):
                    nursery.start_soon(write, number)
            assert database.pool.in_use == 0
        halves = await database.read(
            value, "SELECT count(*) FROM pairs a WHERE NOT EXISTS (SELECT FROM pairs b WHERE b.number = -a.number)"
        )
        assert halves == 0
        assert await database.read(value, "SELECT count(*) FROM pairs") >= 2 * committed
        assert 0 < committed < 400
        await becomes(watcher.locks, 0)
        await becomes(partial(watcher.sessions, "idle in transaction%"), 0)
        assert await watcher.sessions() <= 4
    await becomes(watcher.sessions, 0)


@pytest.mark.slow
async def test_ten_thousand_cancelled_queries_leak_no_connection(database_url: str, watcher: Watcher) -> None:
    moments = random.Random(7)
    cancelled = 0

    async def ask(count: int) -> None:
        nonlocal cancelled
        for _ in range(count):
            with trio.move_on_after(moments.uniform(0, 0.003)) as patience:
                await database.read(value, "SELECT pg_sleep(1)")
            cancelled += patience.cancelled_caught

    async with open_database(database_url, connections=16) as database:
        async with trio.open_nursery() as nursery:
            for _ in range(16):
                nursery.start_soon(ask, 625)
        assert cancelled == 10_000
        assert database.pool.in_use == 0
        await becomes(partial(watcher.sessions, "active"), 0)
        assert await watcher.sessions() == database.pool.idle <= 16
        assert await database.read(value, "SELECT count(*) FROM pg_prepared_statements") <= 500
    await becomes(watcher.sessions, 0)


async def test_time_limits_are_cancel_scopes(database: Database) -> None:
    with pytest.raises(trio.TooSlowError), trio.fail_after(0.05):
        await database.read(value, "SELECT pg_sleep(60)")


async def one(tx: Transaction) -> int:
    return await value(tx, "SELECT 1")


async def value(tx: Transaction, sql: str) -> int:
    found: int = await tx.fetchval(sql)
    return found


INTERRUPTED = """
import signal, sys, trio
from tricord.homeserver.storage.connection import Connection

class Socket:
    def __init__(self, sock):
        self.sock = sock

    def __getattr__(self, name):
        return getattr(self.sock, name)

    def send(self, data):
        sent = self.sock.send(data)
        signal.raise_signal(signal.SIGINT)
        return sent

# Whoever runs tests in the background may have told all to ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)

async def main():
    connection = await Connection.open(sys.argv[1])
    numbers = "SELECT * FROM generate_series(1, $1::int)"
    await connection.fetch(numbers, 3)
    connection._link._socket = Socket(connection._link._socket)
    try:
        await connection.fetch(numbers, 3)
    except KeyboardInterrupt:
        print("interrupted" if connection.is_closed else "left as it was")

trio.run(main)
"""


async def test_ctrl_c_while_a_query_is_sent_ends_the_query_and_not_the_process(database_url: str) -> None:
    command = [sys.executable, "-c", INTERRUPTED, database_url]
    done = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
    assert (done.returncode, done.stdout) == (0, b"interrupted\n"), done.stderr.decode()


async def test_what_fails_while_a_cancelled_query_ends_loses_the_connection(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def interrupted(_address: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(connection._link, "connect_again", interrupted)
    with pytest.raises(KeyboardInterrupt), trio.CancelScope() as scope:  # noqa: PT012
        scope.cancel()
        await connection.fetch("SELECT pg_sleep($1)", 60)
    assert connection.is_closed
