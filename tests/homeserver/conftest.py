"""A homeserver as a whole, and people who are signed in to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers import running_homeserver, signed_in
from tricord.clients import Client
from tricord.homeserver.app import Homeserver


@pytest.fixture
def changed_settings() -> dict[str, Any]:
    """Settings in which the homeserver differs from that of most tests: for a file to replace."""
    return {}


@pytest.fixture
async def homeserver(database_url: str, tmp_path: Path, changed_settings: dict[str, Any]) -> AsyncIterator[Homeserver]:
    """A homeserver in this process."""
    async with running_homeserver(database_url, tmp_path, **changed_settings) as homeserver:
        yield homeserver


@pytest.fixture
async def alice(homeserver: Homeserver) -> AsyncIterator[Client]:
    """Somebody with an account."""
    async with signed_in(homeserver, "alice") as client:
        yield client


@pytest.fixture
async def bob(homeserver: Homeserver) -> AsyncIterator[Client]:
    """Somebody else."""
    async with signed_in(homeserver, "bob") as client:
        yield client


@pytest.fixture
async def carol(homeserver: Homeserver) -> AsyncIterator[Client]:
    """A third."""
    async with signed_in(homeserver, "carol") as client:
        yield client
