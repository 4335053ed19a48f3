"""`tricord notice send`: tell users something."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tricord.homeserver.cli.administration import administer
from tricord.homeserver.cli.options import with_settings

if TYPE_CHECKING:
    from tricord.homeserver.accounts.administration import Administration
    from tricord.homeserver.settings import Settings


@click.group(short_help="Send notices to users.")
def notice() -> None:
    """Messages of the server to its users, each in a room of its own."""


@notice.command(short_help="Send a notice.")
@click.argument("text")
@click.option("--to", "names", multiple=True, help="A user; can be given several times.")
@click.option("--everybody", is_flag=True, help="Every user of this server.")
@with_settings
def send(settings: Settings, text: str, names: tuple[str, ...], everybody: bool) -> None:
    """Send TEXT to some users, or to everybody. The server that runs does it, or the next one to start."""
    if everybody == bool(names):
        raise click.UsageError("say to whom: --to NAME, or --everybody")

    async def act(administration: Administration) -> None:
        from tricord.homeserver.moderation.server_notices import NoticeQueue

        queue = NoticeQueue(administration.database, settings.server_notices)
        users = [None] if everybody else [(await administration.user(name)).user_id for name in names]
        for user_id in users:
            await queue.put(text, user_id)

    administer(settings, act)
    click.echo("The notice will be sent.")
