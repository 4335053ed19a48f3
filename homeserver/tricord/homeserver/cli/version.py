"""`tricord version`."""

from __future__ import annotations

import click


@click.command(short_help="Print versions.")
def version() -> None:
    """Print the version of Tricord, of Python, and of the Matrix specification."""
    import platform
    from importlib.metadata import version as installed

    click.echo(f"tricord {installed('tricord')}, Python {platform.python_version()}, Matrix v1.19")
