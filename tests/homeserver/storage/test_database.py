"""Transactions on a real PostgreSQL."""

from __future__ import annotations

import pytest
import trio

from tricord.homeserver.storage.database import Database, Record, Transaction
from tricord.homeserver.storage.errors import DatabaseUnavailable, SchemaChanged, UniqueViolation


async def test_what_a_transaction_wrote_is_there_after_it_and_gone_if_it_raised(database: Database) -> None:
    async with database.transaction() as tx:
        await tx.execute("CREATE TABLE kept (number integer PRIMARY KEY)")
        await tx.execute("INSERT INTO kept VALUES (1)")
    with pytest.raises(ZeroDivisionError):
        await database.run(insert_and_fail, 2)
    assert await database.read(numbers) == [1]
    with pytest.raises(UniqueViolation) as caught:
        await database.run(insert, 1)
    assert caught.value.constraint == "kept_pkey"


async def test_a_cancelled_query_ends_in_the_server_and_leaves_the_connection_usable(database: Database) -> None:
    with trio.move_on_after(0.05) as patience:
        async with database.transaction() as tx:
            await tx.execute("SELECT pg_sleep(60)")
    assert patience.cancelled_caught
    assert database.pool.idle == 1
    async with database.transaction() as tx:
        running = await tx.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%pg_sleep(60)%' "
            "AND pid <> pg_backend_pid() AND datname = current_database()"
        )
    assert running == 0


async def test_a_connection_whose_backend_was_ended_is_replaced(database: Database) -> None:
    with pytest.raises(DatabaseUnavailable):
        await lose_a_connection(database)
    assert await database.read(one) == 1


async def test_a_changed_schema_harms_nobody_who_has_used_the_table_before(database: Database) -> None:
    async with database.transaction() as tx:
        await tx.execute("CREATE TABLE kept AS SELECT 1 AS number")
    for columns in (2, 3):
        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(database.run, everything)
        async with database.transaction() as tx:
            await tx.execute(f"ALTER TABLE kept ADD COLUMN column_{columns} int DEFAULT 0")
        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(database.run, everything)
        assert len(await database.read(everything)) == columns
    async with database.transaction() as tx:
        await tx.execute("ALTER TABLE kept DROP COLUMN column_3")
    with pytest.raises(SchemaChanged):
        await in_a_block(database)
    assert len(await in_a_block(database)) == 2


async def test_who_is_ended_for_waiting_in_a_circle_begins_again(database: Database) -> None:
    async with database.transaction() as tx:
        await tx.execute("CREATE TABLE kept AS SELECT number, 0 AS count FROM unnest(ARRAY[1, 2]) AS number")
    held: list[int] = []
    met = trio.Event()

    async def count(tx: Transaction, first: int, second: int) -> None:
        await tx.execute("UPDATE kept SET count = count + 1 WHERE number = $1", first)
        held.append(first)
        if len(held) == 2:
            met.set()
        await met.wait()
        await tx.execute("UPDATE kept SET count = count + 1 WHERE number = $1", second)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(database.run, count, 1, 2)
        nursery.start_soon(database.run, count, 2, 1)
    assert len(held) == 3
    async with database.transaction() as tx:
        assert await tx.fetchval("SELECT array_agg(count) FROM kept") == [2, 2]


async def everything(tx: Transaction) -> Record:
    await tx.execute("SELECT pg_sleep(0.01)")
    return await tx.fetchrow("SELECT * FROM kept")


async def in_a_block(database: Database) -> Record:
    async with database.transaction() as tx:
        return await everything(tx)


async def numbers(tx: Transaction) -> list[int]:
    return [row["number"] for row in await tx.fetch("SELECT number FROM kept ORDER BY number")]


async def insert(tx: Transaction, number: int) -> None:
    await tx.execute("INSERT INTO kept VALUES ($1)", number)


async def insert_and_fail(tx: Transaction, number: int) -> None:
    await insert(tx, number)
    raise ZeroDivisionError


async def lose_a_connection(database: Database) -> None:
    async with database.transaction() as tx, database.transaction() as other:
        await other.execute("SELECT pg_terminate_backend($1)", await tx.fetchval("SELECT pg_backend_pid()"))
        await tx.fetchval("SELECT 1")


async def one(tx: Transaction) -> int:
    value: int = await tx.fetchval("SELECT 1")
    return value
