"""What the tests of the SDK share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.clients.either_server import EitherServer, RealServer, real_server, server_in_memory
from tests.postgres import PostgresServer
from tricord.clients.testing import Homeserver


@pytest.fixture(params=["in memory", "real"])
async def server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[EitherServer]:
    """A homeserver: each test is run with both kinds."""
    if request.param == "in memory":
        async with server_in_memory() as in_memory:
            yield in_memory
        return
    # Asked for here, so that those who want no database need not have one.
    postgres: PostgresServer = request.getfixturevalue("postgres")
    url = await postgres.fresh()
    async with real_server(url, tmp_path / "server") as real:
        yield real
    await postgres.drop(url)


@pytest.fixture
async def in_memory() -> AsyncIterator[Homeserver]:
    """The homeserver in memory."""
    async with server_in_memory() as homeserver:
        yield homeserver


@pytest.fixture
async def real(database_url: str, tmp_path: Path) -> AsyncIterator[RealServer]:
    """The real homeserver."""
    async with real_server(database_url, tmp_path / "server") as homeserver:
        yield homeserver
