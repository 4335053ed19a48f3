"""What `tricord serve` does, once its options are known: run the homeserver until it is told to stop."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import AsyncIterator
from importlib import import_module
from typing import TYPE_CHECKING

from tricord.homeserver.garbage import collect_new
from tricord.homeserver.how_to import how_to
from tricord.homeserver.loading import leave_out_extras
from tricord.homeserver.serve_options import ServeOptions

if TYPE_CHECKING:
    from tricord.homeserver.settings import Settings
    from tricord.homeserver.storage.database import Database


def serve_until_stopped(options: ServeOptions) -> None:
    """Run the homeserver; returns once it was told to stop. `faults.explained` has words for what is raised."""
    collect_new()
    leave_out_extras()
    import trio

    from tricord.homeserver.heap import keep_one_heap
    from tricord.homeserver.logs import configure_logs
    from tricord.homeserver.settings_sources import settings_for

    keep_one_heap()
    settings = settings_for(options.config_file, options.data_dir, options.server_name, options.processes)
    configure_logs(settings.log)

    async def run() -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async with trio.open_nursery() as nursery:

                async def stop_on_signal() -> None:
                    async for number in signals:
                        print(f"{signal.Signals(number).name}: stopping", file=sys.stderr, flush=True)
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
                async with _served(settings) as (database, urls):
                    serving = True
                    _say(f"Tricord serves {settings.server_name} at {', '.join(urls)}, data in {settings.data_dir}.")
                    if not await _has_users(database):
                        _tell_how_to_go_on(settings, options)
                    await stop.wait()
                nursery.cancel_scope.cancel()

    trio.run(run)


@contextlib.asynccontextmanager
async def _served(settings: Settings) -> AsyncIterator[tuple[Database, list[str]]]:
    """Serve while inside the block, in this process or in several; the block gets the database and the URLs."""
    if settings.processes > 1:
        from tricord.homeserver.processes.supervisor import serving_processes
        from tricord.homeserver.storage.database import open_database

        async with serving_processes(settings) as (url, urls), open_database(url, connections=1) as database:
            yield database, urls
        return
    import trio

    from tricord.homeserver.assembly.database import opened_database
    from tricord.homeserver.garbage import collect_seldom
    from tricord.homeserver.signing_key import begin_with_signing_key

    begin_with_signing_key(settings.data_dir)
    # Most of a start is loading the homeserver, and PostgreSQL can start meanwhile.
    loading = threading.Thread(target=import_module, args=("tricord.homeserver.app",), daemon=True)
    loading.start()
    async with opened_database(settings) as database:
        await trio.to_thread.run_sync(loading.join)
        from tricord.homeserver.app import run_on

        async with run_on(database, settings) as homeserver:
            collect_seldom()
            yield database, homeserver.urls


async def _has_users(database: Database) -> bool:
    from tricord.homeserver.storage.accounts import accounts_after

    return bool(await database.read(accounts_after, "", 1))


def _tell_how_to_go_on(settings: Settings, options: ServeOptions) -> None:
    _say("Add the first user from another terminal, in this folder:")
    _say(f"  {how_to('user add NAME --admin', options.config_file, options.data_dir, options.server_name)}")
    if settings.server_name == "localhost":
        _say("This server is for this machine only. For a real domain, stop it and start anew:")
        _say(f"  {how_to('init --server-name example.org --data-dir /var/lib/tricord')}")


def _say(line: str) -> None:
    # At once: whoever started us waits for it.
    print(line, flush=True)
