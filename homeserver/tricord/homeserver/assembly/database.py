"""The database of the settings: found or started, brought up to date, and made this server's."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from tricord.homeserver.settings import Settings
from tricord.homeserver.storage.database import Database, open_database
from tricord.homeserver.storage.embedded import embedded_postgres
from tricord.homeserver.storage.migrations import migrate
from tricord.homeserver.storage.server_name import claim_server_name

# Beside its pool, a process keeps connections for notifications and for leases; verbs of the command line come as well.
_FURTHER_CONNECTIONS = 6
_LEAST_CONNECTIONS = 100


def connections_wanted(settings: Settings) -> int:
    """Return how many connections to PostgreSQL all processes may have at once, and those of the command line."""
    return (settings.processes + 1) * (settings.database.connections + _FURTHER_CONNECTIONS)


@contextlib.asynccontextmanager
async def prepared_database(settings: Settings) -> AsyncIterator[str]:
    """Give the URL of the database at `database.url`, or of the embedded one, with today's schema."""
    async with _of_today(settings) as url:
        async with open_database(url, connections=1) as database:
            await database.run(claim_server_name, settings.server_name)
        yield url


@contextlib.asynccontextmanager
async def opened_database(settings: Settings) -> AsyncIterator[Database]:
    """Open the database of the settings, with today's schema."""
    async with (
        _of_today(settings) as url,
        open_database(url, connections=settings.database.connections) as database,
    ):
        await database.run(claim_server_name, settings.server_name)
        yield database


@contextlib.asynccontextmanager
async def _of_today(settings: Settings) -> AsyncIterator[str]:
    async with contextlib.AsyncExitStack() as stack:
        url = settings.database.url.get_secret_value()
        if not url:
            wanted = connections_wanted(settings)
            options = {"max_connections": str(wanted)} if wanted > _LEAST_CONNECTIONS else None
            folder = settings.data_dir / "postgres"
            url = await stack.enter_async_context(embedded_postgres(folder, options=options))
        await migrate(url)
        yield url
