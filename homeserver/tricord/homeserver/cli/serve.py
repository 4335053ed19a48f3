"""`tricord serve`: run the homeserver until it is told to stop."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tricord.homeserver.cli.options import read_settings, settings_options

if TYPE_CHECKING:
    from tricord.homeserver.app import Homeserver


@click.command()
@settings_options
def serve(config_file: Path | None, data_dir: Path | None, server_name: str | None) -> None:
    """Run the homeserver.

    Without any settings it serves this machine only: server name `localhost`, data in ./tricord-data, a PostgreSQL of
    its own, http://127.0.0.1:8008. SIGTERM or Ctrl-C lets what is under way end, and stops within 10 seconds.
    """
    import trio

    from tricord.homeserver.logs import configure_logs
    from tricord.homeserver.serving.server import CannotListen
    from tricord.homeserver.storage.errors import DatabaseError

    settings = read_settings(config_file, data_dir, server_name)
    configure_logs(settings.log)

    async def run() -> None:
        from tricord.homeserver.app import open_homeserver

        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async with trio.open_nursery() as nursery:

                async def stop_on_signal() -> None:
                    async for number in signals:
                        click.echo(f"{signal.Signals(number).name}: stopping", err=True)
                        stop.set()
                        break
                    # A second signal does not wait for anything.
                    async for _ in signals:
                        nursery.cancel_scope.cancel()

                stop = trio.Event()
                nursery.start_soon(stop_on_signal)
                async with open_homeserver(settings) as homeserver:
                    _tell(homeserver, config_file)
                    await stop.wait()
                nursery.cancel_scope.cancel()

    try:
        trio.run(run)
    except* (DatabaseError, CannotListen, ValueError) as group:
        raise click.ClickException("\n".join(str(error) for error in _leaves(group))) from None


def _leaves(group: BaseException) -> list[BaseException]:
    if isinstance(group, BaseExceptionGroup):
        return [leaf for part in group.exceptions for leaf in _leaves(part)]
    return [group]


def _tell(homeserver: Homeserver, config_file: Path | None) -> None:
    settings = homeserver.settings
    click.echo(f"Tricord serves {settings.server_name} at {', '.join(homeserver.urls)}, data in {settings.data_dir}.")
    if config_file is not None:
        return
    click.echo("Add the first user from another terminal, in this folder:")
    click.echo("  tricord user add NAME --admin")
    if settings.server_name == "localhost":
        click.echo("This server is for this machine only. For a real domain, stop it and start anew:")
        click.echo("  tricord init --server-name example.org --data-dir /var/lib/tricord")
