"""What tests share: a database each, on one PostgreSQL."""

from __future__ import annotations

import traceback
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.postgres import PostgresServer, running_postgres
from tricord.homeserver.storage.database import Database, open_database

# Two homeservers of two processes are deeper in nurseries than Python shows: ten, and what failed would be left out.
_shown: dict[str, Any] = vars(traceback.TracebackException)["__init__"].__kwdefaults__
_shown["max_group_depth"] = 100

_TESTS = Path(__file__).parent
_SYNAPSE, _CONVERSATIONS = _TESTS / "peers" / "synapse", _TESTS / "conversations"
# What takes longest in one piece.
_LONG = (
    _SYNAPSE,
    _TESTS / "peers",
    _TESTS / "durability",
    _TESTS / "processes",
    _TESTS / "browser",
    _TESTS / "homeserver" / "cli",
    _TESTS / "homeserver",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where several workers run, keep together what shares a fixture that takes long: a file, and all of a Synapse's.

    Conversations share nothing, and some take long. They come last, and what cannot be divided comes first, so that no
    worker is left with much to do when the others have finished.
    """
    for item in items:
        if _SYNAPSE in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("synapse"))
        elif _CONVERSATIONS not in item.path.parents:
            item.add_marker(pytest.mark.xdist_group(str(item.path)))
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    folders = item.path.parents
    if _CONVERSATIONS in folders:
        return len(_LONG) + 1
    return next((turn for turn, folder in enumerate(_LONG) if folder in folders), len(_LONG))


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
