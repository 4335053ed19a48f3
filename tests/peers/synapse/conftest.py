"""What the conversations with Synapse share: both servers, run once, and new people for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.peers.synapse.towns import Town, running_towns
from tests.postgres import PostgresServer
from tricord.clients import Client


@pytest.fixture(scope="session")
def towns(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Town, Town]]:
    """A Tricord and a Synapse."""
    with running_towns(postgres, tmp_path_factory.mktemp("towns")) as both:
        yield both


@pytest.fixture(params=["rooms of ours", "rooms of Synapse"])
def sides(request: pytest.FixtureRequest, towns: tuple[Town, Town]) -> tuple[Town, Town]:
    """Where rooms are made, and where others come from: each test is run with both."""
    tricord, synapse = towns
    return (tricord, synapse) if request.param == "rooms of ours" else (synapse, tricord)


@pytest.fixture
def near(sides: tuple[Town, Town]) -> Town:
    """The server on which rooms are made."""
    return sides[0]


@pytest.fixture
def far(sides: tuple[Town, Town]) -> Town:
    """The other server."""
    return sides[1]


@pytest.fixture
async def alice(near: Town) -> AsyncIterator[Client]:
    """Somebody of the near server."""
    async with near.somebody("alice") as client:
        yield client


@pytest.fixture
async def bob(far: Town) -> AsyncIterator[Client]:
    """Somebody of the far server."""
    async with far.somebody("bob") as client:
        yield client


@pytest.fixture
async def carol(far: Town) -> AsyncIterator[Client]:
    """Somebody else of the far server."""
    async with far.somebody("carol") as client:
        yield client
