"""What tests share: a database each, on one PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.postgres import PostgresServer, running_postgres
from tricord.homeserver.storage.database import Database, open_database


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The PostgreSQL server of this run."""
    with running_postgres() as server:
        yield server


@pytest.fixture
async def database_url(postgres: PostgresServer) -> AsyncIterator[str]:
    """The URL of a fresh database with today's schema."""
    url = await postgres.fresh()
    yield url
    await postgres.drop(url)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A fresh database with today's schema."""
    async with open_database(database_url) as database:
        yield database
