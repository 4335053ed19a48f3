"""`tricord media …`: the files that people share, from the command line."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import click

from tricord.homeserver.cli.administration import with_database
from tricord.homeserver.cli.options import with_settings

if TYPE_CHECKING:
    from tricord.homeserver.media.administration import MediaAdministration
    from tricord.homeserver.settings import Settings

T = TypeVar("T")

_WHAT = click.argument("what", nargs=-1, required=True)


@click.group(short_help="Look after the files that people share.")
def media() -> None:
    """Look after the files that people share. Works whether the server runs or not.

    WHAT is an mxc:// URI, or a user id for all that this user has uploaded; there may be several.
    """


@media.command(short_help="Show how much media there is.")
@with_settings
def usage(settings: Settings) -> None:
    """Show how much media there is."""
    used = _administer(settings, lambda media: media.usage())
    click.echo(f"{used.local_files} files of our users, {_mib(used.local_bytes)}")
    click.echo(f"{used.remote_files} files of other servers, {_mib(used.remote_bytes)}")
    click.echo(f"{used.thumbnails} thumbnails; {used.quarantined} files in quarantine")
    click.echo(f"{_mib(used.stored_bytes)} in the store")


@media.command(short_help="Let nobody see some media.")
@_WHAT
@with_settings
def quarantine(settings: Settings, what: tuple[str, ...]) -> None:
    """Let nobody see WHAT, nor the same files under other names; what is not here yet is not fetched either."""

    async def act(media: MediaAdministration) -> int:
        names = await media.named(what)
        await media.quarantine(names, by="operator")
        return len(names)

    click.echo(f"{_administer(settings, act)} files are in quarantine.")


@media.command(short_help="Take back a quarantine.")
@_WHAT
@with_settings
def release(settings: Settings, what: tuple[str, ...]) -> None:
    """Let WHAT be seen again."""

    async def act(media: MediaAdministration) -> int:
        names = await media.named(what)
        await media.release(names)
        return len(names)

    click.echo(f"{_administer(settings, act)} files can be seen again.")


@media.command(short_help="Delete media for good.")
@_WHAT
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_settings
def erase(settings: Settings, what: tuple[str, ...], yes: bool) -> None:
    """Delete WHAT for good, from the database and from the store. Other servers may have copies."""
    if not yes:
        click.confirm(f"Delete {', '.join(what)} for good?", abort=True)

    async def act(media: MediaAdministration) -> int:
        return await media.erase(await media.named(what))

    click.echo(f"{_administer(settings, act)} files are deleted.")


@media.command("forget-remote", short_help="Forget fetched files of other servers.")
@click.option("--days", type=click.FloatRange(min=0), default=30, show_default=True, help="Unused for so long.")
@with_settings
def forget_remote(settings: Settings, days: float) -> None:
    """Forget what was fetched from other servers and nobody has looked at for some time; it can be fetched again."""
    _administer(settings, lambda media: media.forget_remote(unused_days=days))
    click.echo("They are forgotten; the server frees their space within the next two hours.")


def _administer(settings: Settings, act: Callable[[MediaAdministration], Awaitable[T]]) -> T:
    from tricord.homeserver.assembly.media import media_administration_of

    return with_database(settings, lambda database: act(media_administration_of(settings, database)))


def _mib(size: int) -> str:
    return f"{size / (1 << 20):,.1f} MiB"
