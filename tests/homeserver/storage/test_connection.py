"""One connection to a real PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlsplit

import pytest
import trio

from tests.homeserver.storage.watching import becomes, watching
from tricord.homeserver.storage.connection import Connection
from tricord.homeserver.storage.errors import (
    DatabaseError,
    DatabaseUnavailable,
    SchemaChanged,
    SerializationFailure,
    UniqueViolation,
)


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[Connection]:
    connection = await Connection.open(database_url)
    await connection.execute("CREATE TABLE numbers (number bigint PRIMARY KEY, name text)")
    yield connection
    await connection.aclose()


async def numbers(connection: Connection) -> list[int]:
    return [row["number"] for row in await connection.fetch("SELECT number FROM numbers ORDER BY number")]


async def test_rows_come_as_records_and_values(connection: Connection) -> None:
    await connection.execute("INSERT INTO numbers VALUES (1, 'one'), (2, NULL)")
    row = await connection.fetchrow("SELECT * FROM numbers WHERE number = $1", 1)
    assert row is not None
    assert (row["number"], row["name"], row[1]) == (1, "one", "one")
    assert await connection.fetchrow("SELECT * FROM numbers WHERE number = 3") is None
    assert await connection.fetchval("SELECT count(*) FROM numbers") == 2
    assert await connection.execute("UPDATE numbers SET name = 'x'") == "UPDATE 2"
    assert await connection.execute("SELECT 1; SELECT 2; DELETE FROM numbers") == "DELETE 2"


async def test_a_plan_that_was_made_of_a_small_table_does_not_read_a_large_one(connection: Connection) -> None:
    among = "SELECT count(*) FROM unnest($1::bigint[]) AS wanted (number) JOIN numbers USING (number)"
    for _ in range(10):
        assert await connection.fetchval(among, list(range(100))) == 0
    await connection.copy_records("numbers", ["number", "name"], ((n, None) for n in range(10_000)))
    read = "SELECT seq_tup_read + coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables WHERE relname = 'numbers'"
    await connection.execute("BEGIN")
    before = await connection.fetchval(read)
    assert await connection.fetchval(among, [7]) == 1
    assert await connection.fetchval(read) - before <= 1
    await connection.execute("ROLLBACK")


async def test_what_comes_first_in_an_index_is_read_without_all_that_follows(connection: Connection) -> None:
    await connection.execute("CREATE TABLE said (room bigint, position bigint, rank integer, words text)")
    await connection.execute("CREATE INDEX ON said (room, position, rank)")
    await connection.copy_records("said", ["room", "position", "rank", "words"], ((7, n, 0, "x") for n in range(9_000)))
    page = """
        SELECT words FROM said
        WHERE room = $1 AND (position, rank) <= ($2, 0) AND (position, rank) > (-1, 0)
        ORDER BY position DESC, rank DESC LIMIT $3
    """
    read = "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'said'"
    await connection.execute("BEGIN")
    assert len(await connection.fetch(page, 7, 2**62, 50)) == 50
    assert await connection.fetchval(read) <= 51
    await connection.execute("ROLLBACK")


async def test_megabytes_go_both_ways(connection: Connection) -> None:
    large = bytes(range(256)) * 80_000
    assert await connection.fetchval("SELECT $1::bytea || $1::bytea", large) == large * 2
    rows = await connection.fetch("SELECT repeat('x', 1000) AS line FROM generate_series(1, 20000)")
    assert sum(len(row["line"]) for row in rows) == 20_000_000


async def test_copy_appends_rows(connection: Connection) -> None:
    await connection.copy_records("numbers", ["number", "name"], ((n, f"name {n}") for n in range(50_000)))
    assert await connection.fetchval("SELECT sum(number) FROM numbers") == 50_000 * 49_999 // 2


async def test_copy_is_all_or_nothing_and_a_bad_row_does_not_harm_the_connection(connection: Connection) -> None:
    good = [(n, "x" * 1000) for n in range(10_000)]
    with pytest.raises(TypeError):
        await connection.copy_records("numbers", ["number", "name"], [*good, ("three", "not a number")])
    assert await numbers(connection) == []
    with pytest.raises(UniqueViolation) as caught:
        await connection.copy_records("numbers", ["number", "name"], [*good, (0, "again"), *good])
    assert caught.value.constraint == "numbers_pkey"
    assert await numbers(connection) == []
    with pytest.raises(ZeroDivisionError):
        await connection.copy_records("numbers", ["number", "name"], rows_that_fail())
    assert await numbers(connection) == []
    await connection.copy_records("numbers", ["number", "name"], good)
    assert len(await numbers(connection)) == 10_000


async def test_a_statement_runs_for_each_row_of_arguments_or_for_none(connection: Connection) -> None:
    insert = "INSERT INTO numbers VALUES ($1, $2)"
    await connection.executemany(insert, [])
    await connection.executemany(insert, ((n, "x" * 100) for n in range(5_000)))
    assert len(await numbers(connection)) == 5_000
    with pytest.raises(UniqueViolation):
        await connection.executemany(insert, [(-1, ""), (0, "again"), *((n, "") for n in range(6000, 12_000))])
    with pytest.raises(DatabaseError):
        await connection.executemany(insert, [*((n, "") for n in range(6000, 12_000)), ("seven", "")])
    with pytest.raises(ZeroDivisionError):
        await connection.executemany(insert, rows_that_fail(6_000))
    with pytest.raises(ZeroDivisionError):
        await connection.executemany(insert, rows_that_fail(0))
    assert len(await numbers(connection)) == 5_000


async def test_a_savepoint_undoes_only_what_is_inside(connection: Connection) -> None:
    async with connection.transaction():
        await connection.execute("INSERT INTO numbers VALUES (1)")
        for _ in range(2):
            with pytest.raises(UniqueViolation):
                await insert_some_and_fail(connection)
            assert await numbers(connection) == [1]
        async with connection.transaction():
            await connection.execute("INSERT INTO numbers VALUES (4)")
    assert await numbers(connection) == [1, 4]
    assert not connection.is_in_transaction


async def test_a_savepoint_that_was_cancelled_undoes_only_what_is_inside(connection: Connection) -> None:
    async with connection.transaction():
        await connection.execute("INSERT INTO numbers VALUES (1)")
        with trio.move_on_after(0.05):
            async with connection.transaction():
                await connection.execute("INSERT INTO numbers VALUES (2)")
                await connection.execute("SELECT pg_sleep(60)")
        await connection.execute("INSERT INTO numbers VALUES (3)")
    assert await numbers(connection) == [1, 3]


async def test_a_failure_that_was_ignored_does_not_pass_for_a_commit(connection: Connection) -> None:
    with pytest.raises(DatabaseError, match="nothing of it was kept"):
        await insert_twice_and_ignore_the_refusal(connection)
    assert await numbers(connection) == []


async def test_a_constraint_that_is_checked_at_commit_is_told(connection: Connection) -> None:
    await connection.execute("CREATE TABLE late (number bigint UNIQUE DEFERRABLE INITIALLY DEFERRED)")
    with pytest.raises(UniqueViolation):
        async with connection.transaction():
            await connection.execute("INSERT INTO late VALUES (1), (1)")
    assert not connection.is_in_transaction
    assert await connection.fetchval("SELECT count(*) FROM late") == 0


async def test_arguments_that_cannot_be_encoded_leave_no_lock(connection: Connection, database_url: str) -> None:
    async with watching(database_url) as watcher:
        for argument in ("one", 2**70, object()):
            with pytest.raises(DatabaseError):
                await connection.fetch("SELECT * FROM numbers WHERE number = $1 AND name IS NOT NULL", argument)
            assert await watcher.locks() == 0
        with pytest.raises(DatabaseError):
            await connection.executemany("DELETE FROM numbers WHERE number = $1", [("one",)])
        assert await watcher.locks() == 0
        with pytest.raises(TypeError):
            await connection.copy_records("numbers", ["number"], [("one",)])
        assert await watcher.locks() == 0
    assert await connection.fetchval("SELECT 1") == 1


async def test_statements_outlive_a_change_of_their_table(connection: Connection) -> None:
    query = "SELECT * FROM numbers"
    await connection.execute("INSERT INTO numbers VALUES (1, 'one')")
    assert len((await connection.fetch(query))[0]) == 2
    await connection.execute("ALTER TABLE numbers ADD COLUMN colour text")
    assert len((await connection.fetch(query))[0]) == 3
    await connection.execute("ALTER TABLE numbers DROP COLUMN colour")
    with pytest.raises(SchemaChanged):
        async with connection.transaction():
            await connection.fetch(query)
    async with connection.transaction():
        assert len((await connection.fetch(query))[0]) == 2


async def test_a_deadlock_may_be_run_again(connection: Connection, database_url: str) -> None:
    other = await Connection.open(database_url)
    await connection.execute("INSERT INTO numbers VALUES (1), (2)")
    await connection.execute("SET deadlock_timeout = '10ms'")
    failures = []

    async def update(connection: Connection, first: int, second: int) -> None:
        try:
            async with connection.transaction():
                await connection.execute("UPDATE numbers SET name = 'x' WHERE number = $1", first)
                await trio.sleep(0.05)
                await connection.execute("UPDATE numbers SET name = 'x' WHERE number = $1", second)
        except SerializationFailure as failure:
            failures.append(failure.sqlstate)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(update, connection, 1, 2)
        nursery.start_soon(update, other, 2, 1)
    await other.aclose()
    assert failures == ["40P01"]


async def test_a_backend_that_was_killed_in_a_query_is_an_unavailable_database(
    connection: Connection, database_url: str
) -> None:
    async with watching(database_url) as watcher, trio.open_nursery() as nursery:

        async def kill() -> None:
            await becomes(lambda: watcher.running("pg_sleep"), 1)
            await watcher.terminate_others()

        nursery.start_soon(kill)
        with pytest.raises(DatabaseUnavailable, match="administrator"):
            await connection.execute("SELECT pg_sleep(60)")
    assert connection.is_closed
    with pytest.raises(DatabaseUnavailable):
        await connection.execute("SELECT 1")


async def test_a_connection_that_was_ended_while_idle_is_not_usable(connection: Connection, database_url: str) -> None:
    assert connection.is_usable
    async with watching(database_url) as watcher:
        await watcher.terminate_others()
    assert not connection.is_usable
    assert connection.is_closed


async def test_a_connection_that_was_told_something_while_idle_is_usable(
    connection: Connection, database_url: str
) -> None:
    async with watching(database_url) as watcher:
        name = await connection.fetchval("SELECT current_database()")
        await watcher._connection.execute(f"ALTER DATABASE {name} SET search_path = public")
        await watcher._connection.execute("SELECT pg_reload_conf()")
    assert connection.is_usable
    assert await connection.fetchval("SELECT 1") == 1


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://tricord@127.0.0.1:1/tricord",
        "postgresql://tricord@/tricord?host=/nowhere",
        "postgresql://tricord@no-such-host.invalid/tricord",
    ],
)
async def test_a_server_that_is_not_there_is_an_unavailable_database(url: str) -> None:
    with pytest.raises(DatabaseUnavailable, match="cannot be reached"):
        await Connection.open(url)


@pytest.mark.parametrize("url", ["mysql://somewhere/", "postgresql://host:port/x", "postgresql://h/x?sslmode=maybe"])
async def test_a_url_that_means_nothing_is_an_error_of_its_own(url: str) -> None:
    with pytest.raises(DatabaseError, match="the database URL is not right"):
        await Connection.open(url)


async def test_a_database_that_does_not_exist_is_named(database_url: str) -> None:
    parts = urlsplit(database_url)
    with pytest.raises(DatabaseError, match='"nothing_here" does not exist') as caught:
        await Connection.open(parts._replace(path="/nothing_here").geturl())
    assert not isinstance(caught.value, DatabaseUnavailable)


async def insert_some_and_fail(connection: Connection) -> None:
    async with connection.transaction():
        await connection.execute("INSERT INTO numbers VALUES (2)")
        async with connection.transaction():
            await connection.execute("INSERT INTO numbers VALUES (3)")
        await connection.execute("INSERT INTO numbers VALUES (1)")


async def insert_twice_and_ignore_the_refusal(connection: Connection) -> None:
    async with connection.transaction():
        await connection.execute("INSERT INTO numbers VALUES (1)")
        with pytest.raises(UniqueViolation):
            await connection.execute("INSERT INTO numbers VALUES (1)")


def rows_that_fail(after: int = 100) -> Iterator[tuple[int, str]]:
    for number in range(100_000, 100_000 + after):
        yield number, "x"
    raise ZeroDivisionError
