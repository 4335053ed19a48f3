"""What the verbs about accounts need: the database of the settings, whether a server runs on it or not."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import click

from tricord.homeserver.cli.faults import faults_explained

if TYPE_CHECKING:
    from tricord.homeserver.accounts.administration import Administration
    from tricord.homeserver.settings import Settings

T = TypeVar("T")


def administer(settings: Settings, act: Callable[[Administration], Awaitable[T]]) -> T:
    """Do something with the accounts. A refusal or a fault ends the command with its explanation."""
    import trio

    from tricord.homeserver.logs import configure_logs

    configure_logs(settings.log.model_copy(update={"level": "warning"}))

    async def run() -> T:
        async with _administration(settings) as administration:
            return await act(administration)

    with faults_explained():
        return trio.run(run)


@contextlib.asynccontextmanager
async def _administration(settings: Settings) -> AsyncIterator[Administration]:
    from tricord.homeserver.app import administration_of, opened_database
    from tricord.homeserver.storage.database import open_database
    from tricord.homeserver.storage.embedded import running_url
    from tricord.homeserver.storage.server_name import claim_server_name

    running = None
    if not settings.database.url.get_secret_value():
        if not settings.data_dir.exists():
            # A new database would take the user in, and no server would know of it.
            raise click.ClickException(
                f"there is no server in {settings.data_dir}: run this in the folder of `tricord serve`, or give its "
                "--config or --data-dir"
            )
        running = running_url(settings.data_dir / "postgres")
    if running is None:
        async with opened_database(settings) as database:
            yield administration_of(settings, database)
    else:
        # The server has its PostgreSQL open: use that, and it hears of what we change.
        async with open_database(running, connections=2) as database:
            await database.run(claim_server_name, settings.server_name)
            yield administration_of(settings, database)
