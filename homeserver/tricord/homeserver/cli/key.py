"""`tricord key …`: the keys that this server signs with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tricord.homeserver.cli.faults import faults_explained
from tricord.homeserver.cli.options import with_settings

if TYPE_CHECKING:
    from tricord.homeserver.settings import Settings


@click.group(short_help="List and replace the server's signing keys.")
def key() -> None:
    """Signing keys, by which other servers know this one."""


@key.command("list", short_help="List the signing keys.")
@with_settings
def list_keys(settings: Settings) -> None:
    """Print the ids of the key in use and of those that were in use before."""
    from tricord.homeserver.signing_key import retired_signing_keys

    with faults_explained():
        current = _key_in_use(settings.data_dir)
        click.echo(f"{current} in use")
        for key_id, retired in retired_signing_keys(settings.data_dir).items():
            if key_id != current:
                click.echo(f"{key_id} until {_day(retired.valid_until_ts)}")


@key.command(short_help="Replace the signing key at the next start.")
@with_settings
def rotate(settings: Settings) -> None:
    """Make a new signing key, which the server takes when it is started again.

    From then on it signs with the new key and tells other servers of the old one as what it was, so that what was
    signed with it before stays valid. If several processes serve, stop all of them before the first is started again.
    """
    from tricord.homeserver.signing_key import prepare_next_signing_key

    with faults_explained():
        current = _key_in_use(settings.data_dir)
        prepared = prepare_next_signing_key(settings.data_dir)
    click.echo(f"{prepared.key_id} takes the place of {current} when the server is started again.")


def _key_in_use(data_dir: Path) -> str:
    from tricord.homeserver.signing_key import FILE_NAME, load_or_create_signing_key

    if not (data_dir / FILE_NAME).exists():
        raise click.ClickException(
            f"there is no signing key in {data_dir}: `tricord serve` makes one; run this in its folder, or give its "
            "--config or --data-dir"
        )
    return load_or_create_signing_key(data_dir).key_id


def _day(ts: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(ts / 1000, UTC).date().isoformat()
