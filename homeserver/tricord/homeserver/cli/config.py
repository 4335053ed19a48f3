"""`tricord config check`: read the settings as `serve` would, and say what is wrong."""

from __future__ import annotations

from pathlib import Path

import click

from tricord.homeserver.cli.options import read_settings, settings_options


@click.group()
def config() -> None:
    """Look at the settings."""


@config.command()
@settings_options
def check(config_file: Path | None, data_dir: Path | None, server_name: str | None) -> None:
    """Read file, environment and flags as `tricord serve` would; exit status 1 and an explanation if they are wrong."""
    settings = read_settings(config_file, data_dir, server_name)
    for number, listener in enumerate(settings.listeners):
        for file in (listener.tls_certificate, listener.tls_key):
            if file is not None and not file.is_file():
                raise click.ClickException(f"listeners[{number}]: {file} is not there")
    ca = settings.federation.trusted_ca
    if ca is not None and not ca.is_file():
        raise click.ClickException(f"federation.trusted_ca: {ca} is not there")
    database = "the one at database.url" if settings.database.url.get_secret_value() else "embedded"
    click.echo(f"The settings are right: {settings.server_name}, database {database}, data in {settings.data_dir}.")
