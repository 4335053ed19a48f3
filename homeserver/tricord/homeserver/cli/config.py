"""`tricord config …`: read the settings as `serve` would and say what is wrong; list what can be set."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from tricord.homeserver.cli.options import with_settings

if TYPE_CHECKING:
    from tricord.homeserver.settings import Settings


@click.group()
def config() -> None:
    """Look at the settings."""


@config.command(short_help="Say what is wrong with the settings.")
@with_settings
def check(settings: Settings) -> None:
    """Read file, environment and flags as `tricord serve` would; exit status 1 and an explanation if they are wrong."""
    faults = list(_faults_of_files(settings))
    if faults:
        raise click.ClickException("\n".join(faults))
    database = "the one at database.url" if settings.database.url.get_secret_value() else "embedded"
    click.echo(f"The settings are right: {settings.server_name}, database {database}, data in {settings.data_dir}.")


@config.command(short_help="Print all settings, as docs/settings.md.")
def reference() -> None:
    """Print every setting with its meaning and default, as Markdown."""
    from tricord.homeserver.settings_reference import settings_reference

    click.echo(settings_reference(), nl=False)


def _faults_of_files(settings: Settings) -> Iterator[str]:
    """Look into the files that settings name."""
    import ssl

    for number, listener in enumerate(settings.listeners):
        certificate, key = listener.tls_certificate, listener.tls_key
        if certificate is None or key is None:
            continue
        missing = [file for file in (certificate, key) if not file.is_file()]
        if missing:
            yield f"listeners[{number}]: {missing[0]} is not there"
            continue
        try:
            ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key)
        except OSError as error:  # which ssl's errors are
            yield f"listeners[{number}]: {certificate} and {key} are not a certificate and its key: {error.strerror}"
    ca = settings.federation.trusted_ca
    if ca is not None:
        try:
            ssl.create_default_context().load_verify_locations(ca)
        except OSError as error:
            yield f"federation.trusted_ca: {ca} holds no certificates: {error.strerror}"
