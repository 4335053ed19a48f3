"""`tricord serve`: run the homeserver until it is told to stop."""

from __future__ import annotations

import gc
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tricord.homeserver.cli.faults import faults_explained
from tricord.homeserver.cli.options import how_to, read_settings, settings_options

if TYPE_CHECKING:
    from tricord.homeserver.app import Homeserver


@click.command(short_help="Run the homeserver.")
@settings_options
def serve(config_file: Path | None, data_dir: Path | None, server_name: str | None) -> None:
    """Run the homeserver.

    Without any settings it serves this machine only: server name `localhost`, data in ./tricord-data, a PostgreSQL of
    its own, http://127.0.0.1:8008. SIGTERM or Ctrl-C lets what is under way end, and stops within 10 seconds.
    """
    import trio

    from tricord.homeserver.logs import configure_logs

    settings = read_settings(config_file, data_dir, server_name)
    configure_logs(settings.log)

    async def run() -> None:
        from tricord.homeserver.app import open_homeserver

        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async with trio.open_nursery() as nursery:

                async def stop_on_signal() -> None:
                    async for number in signals:
                        click.echo(f"{signal.Signals(number).name}: stopping", err=True)
                        if not serving:
                            nursery.cancel_scope.cancel()
                        stop.set()
                        break
                    # A second signal does not wait for anything.
                    async for _ in signals:
                        nursery.cancel_scope.cancel()

                serving = False
                stop = trio.Event()
                nursery.start_soon(stop_on_signal)
                async with open_homeserver(settings) as homeserver:
                    serving = True
                    _collect_seldom()
                    await _tell(homeserver, config_file, data_dir, server_name)
                    await stop.wait()
                nursery.cancel_scope.cancel()

    with faults_explained():
        trio.run(run)


def _collect_seldom() -> None:
    """Let Python look for cycles of garbage seldom, and never among what is there from the start.

    Almost nothing here is freed by that, and each full look stops the server for as long as its memory is large.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


async def _tell(
    homeserver: Homeserver, config_file: Path | None, data_dir: Path | None, server_name: str | None
) -> None:
    settings = homeserver.settings
    click.echo(f"Tricord serves {settings.server_name} at {', '.join(homeserver.urls)}, data in {settings.data_dir}.")
    async for _ in homeserver.administration.users():
        return
    click.echo("Add the first user from another terminal, in this folder:")
    click.echo(f"  {how_to('user add NAME --admin', config_file, data_dir, server_name)}")
    if settings.server_name == "localhost":
        click.echo("This server is for this machine only. For a real domain, stop it and start anew:")
        click.echo(f"  {how_to('init --server-name example.org --data-dir /var/lib/tricord')}")
