"""`tricord serve`: its options, explained. Where they are plain, `command.py` does without this and click."""

from __future__ import annotations

from pathlib import Path

import click

from tricord.homeserver.cli.faults import faults_explained
from tricord.homeserver.cli.options import settings_options


@click.command(short_help="Run the homeserver.")
@settings_options
@click.option("--processes", type=int, metavar="N", help="How many processes serve; one, if left out.")
def serve(config_file: Path | None, data_dir: Path | None, server_name: str | None, processes: int | None) -> None:
    """Run the homeserver.

    Without any settings it serves this machine only: server name `localhost`, data in ./tricord-data, a PostgreSQL of
    its own, http://127.0.0.1:8008. SIGTERM or Ctrl-C lets what is under way end, and stops within 10 seconds.
    """
    from tricord.homeserver.serve import serve_until_stopped
    from tricord.homeserver.serve_options import ServeOptions

    with faults_explained():
        serve_until_stopped(ServeOptions(config_file, data_dir, server_name, processes))
