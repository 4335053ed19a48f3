"""What most conversations need: towns that meet over a network, and a town beside a hostile server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.conversations.network import Network
from tests.conversations.scene import Scene, hostile_scene
from tests.conversations.towns import Town, towns
from tests.postgres import PostgresServer


@pytest.fixture
def network() -> Network:
    """The network between the servers."""
    return Network()


@pytest.fixture
async def both(postgres: PostgresServer, tmp_path: Path, network: Network) -> AsyncIterator[list[Town]]:
    """Two towns, with alice in the one and bob in the other."""
    async with towns(postgres, tmp_path, network, north=["alice"], south=["bob"]) as found:
        yield found


@pytest.fixture
async def scene(postgres: PostgresServer, tmp_path: Path) -> AsyncIterator[Scene]:
    """A town, and a server that keeps no rules, in a room of the newest version."""
    async with hostile_scene(postgres, tmp_path) as found:
        yield found


@pytest.fixture(params=["1", "11", "12"])
async def any_scene(postgres: PostgresServer, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    """The same, in rooms of versions whose events and ids have other forms."""
    async with hostile_scene(postgres, tmp_path, request.param) as found:
        yield found
