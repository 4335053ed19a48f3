"""A database for commands, which run outside of any event loop of the tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import trio

from tests.postgres import PostgresServer


@pytest.fixture
def database_url(postgres: PostgresServer) -> Iterator[str]:
    """The URL of a fresh database with today's schema."""
    url = trio.run(postgres.fresh)
    yield url
    trio.run(postgres.drop, url)
