"""Where the `tricord` command begins: it is there, too, where only the SDK is installed."""

from __future__ import annotations

import sys

from tricord.homeserver.serve_options import ServeOptions, plain_options


def main() -> None:
    """Run the command, or say what it takes."""
    options = plain_options(sys.argv[2:]) if sys.argv[1:2] == ["serve"] else None
    try:
        if options is not None:
            _serve(options)
            return
        from tricord.homeserver import cli
    except ModuleNotFoundError as missing:
        if (missing.name or "").startswith("tricord"):
            raise
        sys.exit(f"Error: the homeserver is not installed ({missing.name} is missing): pip install 'tricord[server]'")
    cli.main(prog_name="tricord")


def _serve(options: ServeOptions) -> None:
    from tricord.homeserver.faults import faults_end_the_process
    from tricord.homeserver.serve import serve_until_stopped

    try:
        with faults_end_the_process():
            serve_until_stopped(options)
    except KeyboardInterrupt:
        # In the words of click, which runs the other verbs.
        sys.exit("\nAborted!")
