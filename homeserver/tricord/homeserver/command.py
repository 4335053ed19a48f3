"""Where the `tricord` command begins: it is there, too, where only the SDK is installed."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command, or say what it takes."""
    try:
        from tricord.homeserver import cli
    except ModuleNotFoundError as missing:
        if (missing.name or "").startswith("tricord"):
            raise
        sys.exit(f"Error: the homeserver is not installed ({missing.name} is missing): pip install 'tricord[server]'")
    cli.main(prog_name="tricord")
