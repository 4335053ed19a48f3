"""People who follow what happens on a homeserver without a socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from tests.homeserver.sync.people import Follower
from tests.homeserver.sync.server import sync_server
from tricord.homeserver.storage.database import Database

People = Callable[[str], Follower]


@pytest.fixture
async def people(database: Database) -> AsyncIterator[People]:
    async with sync_server(database) as server:
        yield server.person


@pytest.fixture
def alice(people: People) -> Follower:
    return people("alice")


@pytest.fixture
def bob(people: People) -> Follower:
    return people("bob")


@pytest.fixture
def carol(people: People) -> Follower:
    return people("carol")
