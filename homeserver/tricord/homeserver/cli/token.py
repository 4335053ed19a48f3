"""`tricord token create`: let somebody register."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from tricord.homeserver.cli.administration import administer
from tricord.homeserver.cli.options import with_settings

if TYPE_CHECKING:
    from tricord.homeserver.accounts.administration import Administration
    from tricord.homeserver.settings import Settings


@click.group(short_help="Make registration tokens.")
def token() -> None:
    """Registration tokens, for servers whose settings ask for one."""


@token.command(short_help="Make a registration token.")
@click.argument("text", required=False)
@click.option("--uses", type=click.IntRange(min=1), help="How often it can be used; without limit if left out.")
@click.option("--days", type=click.FloatRange(min=0, min_open=True), help="For how long; for ever if left out.")
@with_settings
def create(
    settings: Settings,
    text: str | None,
    uses: int | None,
    days: float | None,
) -> None:
    """Make a registration token and print it: TEXT, or a random one."""
    expires_ts = None if days is None else int((time.time() + days * 86_400) * 1000)

    async def act(administration: Administration) -> str:
        return await administration.create_registration_token(text, uses_allowed=uses, expires_ts=expires_ts)

    click.echo(administer(settings, act))
    if not (settings.registration.enabled and settings.registration.token_required):
        click.echo("Registration does not ask for tokens: set [registration] enabled and token_required.", err=True)
