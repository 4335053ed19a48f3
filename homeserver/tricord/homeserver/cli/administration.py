"""What the verbs about accounts need: the database of the settings, whether a server runs on it or not."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from tricord.homeserver.cli.faults import faults_explained

if TYPE_CHECKING:
    from tricord.homeserver.accounts.administration import Administration
    from tricord.homeserver.settings import Settings
    from tricord.homeserver.storage.database import Database

T = TypeVar("T")

_STARTS_WITHIN_SECONDS = 30


def administer(settings: Settings, act: Callable[[Administration], Awaitable[T]]) -> T:
    """Do something with the accounts. A refusal or a fault ends the command with its explanation."""
    from tricord.homeserver.app import administration_of

    return with_database(settings, lambda database: act(administration_of(settings, database)))


def with_database(settings: Settings, act: Callable[[Database], Awaitable[T]]) -> T:
    """Do something with the database. A refusal or a fault ends the command with its explanation."""
    import trio

    from tricord.homeserver.logs import configure_logs

    configure_logs(settings.log.model_copy(update={"level": "warning"}))

    async def run() -> T:
        async with _database(settings) as database:
            return await act(database)

    with faults_explained():
        return trio.run(run)


@contextlib.asynccontextmanager
async def _database(settings: Settings) -> AsyncIterator[Database]:
    from tricord.homeserver.assembly.database import opened_database
    from tricord.homeserver.storage.database import open_database
    from tricord.homeserver.storage.server_name import claim_server_name

    running = None
    if not settings.database.url.get_secret_value():
        if not settings.data_dir.exists():
            # A new database would take the user in, and no server would know of it.
            raise click.ClickException(
                f"there is no server in {settings.data_dir}: run this in the folder of `tricord serve`, or give its "
                "--config or --data-dir"
            )
        running = await _running_postgres(settings.data_dir / "postgres")
    if running is None:
        async with opened_database(settings) as database:
            yield database
    else:
        # The server has its PostgreSQL open: use that, and it hears of what we change.
        async with open_database(running, connections=2) as database:
            await database.run(claim_server_name, settings.server_name)
            yield database


async def _running_postgres(folder: Path) -> str | None:
    """Return the URL of the PostgreSQL that another process runs, once it can be used; None if there is none."""
    import trio

    from tricord.homeserver.storage.embedded import running_url
    from tricord.homeserver.storage.errors import DatabaseError, DatabaseTooNew
    from tricord.homeserver.storage.migrations import migrate

    deadline = trio.current_time() + _STARTS_WITHIN_SECONDS
    while (url := running_url(folder)) is not None:
        try:
            await migrate(url)
        except DatabaseTooNew:
            raise
        except DatabaseError:
            # That process may still be starting it, or just be ending it.
            if trio.current_time() > deadline:
                raise
            await trio.sleep(0.1)
        else:
            break
    return url
