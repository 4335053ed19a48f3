"""The schema's files run once, in order, whole or not at all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
import trio

from tests.homeserver.storage.watching import becomes, watching
from tests.postgres import PostgresServer
from tricord.homeserver.storage.connection import Connection
from tricord.homeserver.storage.errors import DatabaseError, DatabaseTooNew, UniqueViolation
from tricord.homeserver.storage.migrations import Migration, known_migrations, migrate

FIRST = Migration(1, "0001_first.sql", "CREATE TABLE first (number int PRIMARY KEY); INSERT INTO first VALUES (1)")
SECOND = Migration(2, "0002_second.sql", "INSERT INTO first VALUES (2); CREATE TABLE second (number int)")
BROKEN = Migration(3, "0003_broken.sql", "INSERT INTO first VALUES (3); INSERT INTO first VALUES (1)")
FOURTH = Migration(4, "0004_fourth.sql", "INSERT INTO first VALUES (4)")


@pytest.fixture
async def empty_url(postgres: PostgresServer) -> AsyncIterator[str]:
    url = await postgres.empty()
    yield url
    await postgres.drop(url)


TABLES = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"


async def run(url: str, sql: str) -> None:
    connection = await Connection.open(url)
    try:
        await connection.execute(sql)
    finally:
        await connection.aclose()


async def column(url: str, sql: str) -> list[object]:
    connection = await Connection.open(url)
    try:
        return [row[0] for row in await connection.fetch(sql)]
    finally:
        await connection.aclose()


async def test_each_file_runs_once_and_new_ones_run_later(empty_url: str) -> None:
    assert await migrate(empty_url, [FIRST]) == ["0001_first.sql"]
    assert await migrate(empty_url, [FIRST]) == []
    assert await migrate(empty_url, [FIRST, SECOND]) == ["0002_second.sql"]
    assert await column(empty_url, "SELECT number FROM first ORDER BY number") == [1, 2]
    assert await column(empty_url, "SELECT name FROM schema_migrations ORDER BY number") == [FIRST.name, SECOND.name]


async def test_a_file_between_others_that_ran_runs_too(empty_url: str) -> None:
    await migrate(empty_url, [FIRST, FOURTH])
    assert await migrate(empty_url, [FIRST, SECOND, FOURTH]) == ["0002_second.sql"]


async def test_the_schema_of_this_version_is_made_and_then_complete(empty_url: str) -> None:
    names = [migration.name for migration in known_migrations()]
    assert await migrate(empty_url) == names
    assert await migrate(empty_url) == []


def test_no_two_files_have_a_number_and_each_says_why_it_is_there() -> None:
    migrations = known_migrations()
    numbers = [migration.number for migration in migrations]
    assert numbers == sorted(set(numbers))
    assert all(migration.sql.startswith("--") for migration in migrations)


async def test_a_database_that_cannot_hold_every_character_is_refused_in_words(empty_url: str) -> None:
    url = urlsplit(empty_url)
    name = f"{url.path[1:]}_ascii"
    await run(empty_url, f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
    with pytest.raises(DatabaseError, match=r"encoding is SQL_ASCII.*: make a new one with CREATE DATABASE"):
        await migrate(url._replace(path=f"/{name}").geturl(), [FIRST])
    assert await column(url._replace(path=f"/{name}").geturl(), TABLES) == []
    await run(empty_url, f"DROP DATABASE {name}")


async def test_a_user_who_may_not_make_tables_is_told_what_to_do(empty_url: str) -> None:
    url = urlsplit(empty_url)
    name = f"{url.path[1:]}_guest"
    await run(empty_url, f"CREATE ROLE {name} LOGIN PASSWORD 'guest'")
    await run(empty_url, "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    try:
        at = url.netloc.rpartition("@")[2]
        with pytest.raises(DatabaseError, match=r"permission denied .*: let the user .* own the database"):
            await migrate(url._replace(netloc=f"{name}:guest@{at}").geturl(), [FIRST])
    finally:
        await run(empty_url, f"DROP ROLE {name}")


async def test_processes_that_start_together_run_each_file_once(empty_url: str) -> None:
    ran: list[str] = []

    async def start() -> None:
        ran.extend(await migrate(empty_url))

    async with trio.open_nursery() as nursery:
        for _ in range(6):
            nursery.start_soon(start)
    assert ran == [migration.name for migration in known_migrations()]


async def test_a_file_that_fails_leaves_nothing_of_itself_and_runs_when_it_is_mended(empty_url: str) -> None:
    with pytest.raises(DatabaseError, match=r"0003_broken\.sql failed: duplicate key") as caught:
        await migrate(empty_url, [FIRST, SECOND, BROKEN, FOURTH])
    assert isinstance(caught.value.__cause__, UniqueViolation)
    assert await column(empty_url, "SELECT number FROM first ORDER BY number") == [1, 2]
    mended = Migration(BROKEN.number, BROKEN.name, "INSERT INTO first VALUES (3)")
    assert await migrate(empty_url, [FIRST, SECOND, mended, FOURTH]) == ["0003_broken.sql", "0004_fourth.sql"]
    assert await column(empty_url, "SELECT number FROM first ORDER BY number") == [1, 2, 3, 4]


async def test_a_database_of_a_newer_version_is_left_alone(empty_url: str) -> None:
    await migrate(empty_url, [FIRST, SECOND])
    with pytest.raises(DatabaseTooNew, match=r"newer version of Tricord \(it has 0002_second\.sql\)"):
        await migrate(empty_url, [FIRST, FOURTH])
    assert await column(empty_url, "SELECT name FROM schema_migrations ORDER BY number") == [FIRST.name, SECOND.name]


async def test_who_waits_for_another_that_migrates_can_give_up_and_one_that_dies_frees_the_way(empty_url: str) -> None:
    slow = Migration(1, "0001_slow.sql", "CREATE TABLE slow (number int); SELECT pg_sleep(60)")
    async with watching(empty_url) as watcher, trio.open_nursery() as nursery:
        nursery.start_soon(migrate, empty_url, [slow])
        await becomes(lambda: watcher.running("pg_sleep"), 1)
        with trio.move_on_after(0.05) as patience:
            await migrate(empty_url, [FIRST])
        assert patience.cancelled_caught
        nursery.cancel_scope.cancel()
    assert await migrate(empty_url, [FIRST]) == ["0001_first.sql"]
