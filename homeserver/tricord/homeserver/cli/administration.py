"""What the verbs about accounts need: the database of the settings, whether a server runs on it or not."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import click

if TYPE_CHECKING:
    from tricord.homeserver.accounts.administration import Administration
    from tricord.homeserver.settings import Settings

T = TypeVar("T")


def administer(settings: Settings, act: Callable[[Administration], Awaitable[T]]) -> T:
    """Do something with the accounts. A refusal or a fault ends the command with its explanation."""
    import trio

    from tricord.homeserver.storage.errors import DatabaseError
    from tricord.protocol.errors import MatrixError

    async def run() -> T:
        async with _administration(settings) as administration:
            return await act(administration)

    try:
        return trio.run(run)
    except (MatrixError, DatabaseError) as error:
        raise click.ClickException(str(error)) from None
    except BaseExceptionGroup as group:
        found, others = group.split((MatrixError, DatabaseError))
        if found is None or others is not None:
            raise
        raise click.ClickException("\n".join(str(error) for error in _leaves(found))) from None


@contextlib.asynccontextmanager
async def _administration(settings: Settings) -> AsyncIterator[Administration]:
    from tricord.homeserver.app import administration_of
    from tricord.homeserver.storage.database import open_database
    from tricord.homeserver.storage.embedded import running_url

    running = None if settings.database.url.get_secret_value() else running_url(settings.data_dir / "postgres")
    if running is None:
        from tricord.homeserver.app import opened_database

        async with opened_database(settings) as database:
            yield administration_of(settings, database)
    else:
        # The server has its PostgreSQL open: use that, and it hears of what we change.
        async with open_database(running, connections=2) as database:
            yield administration_of(settings, database)


def _leaves(group: BaseException) -> list[BaseException]:
    if isinstance(group, BaseExceptionGroup):
        return [leaf for part in group.exceptions for leaf in _leaves(part)]
    return [group]
