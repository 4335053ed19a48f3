"""`tricord user …`: accounts, from the command line."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from tricord.homeserver.cli.administration import administer
from tricord.homeserver.cli.options import with_settings

if TYPE_CHECKING:
    from tricord.homeserver.accounts.administration import Administration
    from tricord.homeserver.settings import Settings
    from tricord.homeserver.storage.accounts import Account

_FROM_STDIN = "Read the password from standard input instead of asking for it."


@click.group(short_help="Add, list and change users.")
def user() -> None:
    """Add, list and change users. Works whether the server runs or not."""


@user.command(short_help="Make an account.")
@click.argument("name")
@click.option("--admin", is_flag=True, help="Make the user an administrator of the server.")
@click.option("--password-stdin", is_flag=True, help=_FROM_STDIN)
@with_settings
def add(settings: Settings, name: str, admin: bool, password_stdin: bool) -> None:
    """Make an account for NAME, a user id or the part of it before the colon."""
    _check_there_is_whom_to_ask(from_stdin=password_stdin)

    async def act(administration: Administration) -> str:
        await administration.check_new(name)
        return await administration.create_user(name, _password(from_stdin=password_stdin), is_admin=admin)

    user_id = administer(settings, act)
    click.echo(f"{user_id} can sign in now{', as an administrator' if admin else ''}.")


@user.command("list", short_help="List every account.")
@with_settings
def list_(settings: Settings) -> None:
    """List every account, a line each."""

    async def act(administration: Administration) -> list[Account]:
        return [account async for account in administration.users()]

    for account in administer(settings, act):
        marks = [
            word
            for word, holds in (
                ("administrator", account.is_admin),
                ("deactivated", account.deactivated),
                ("locked", account.locked),
                ("suspended", account.suspended),
            )
            if holds
        ]
        click.echo(f"{account.user_id} ({', '.join(marks)})" if marks else account.user_id)


@user.command(short_help="Give a user another password.")
@click.argument("name")
@click.option("--password-stdin", is_flag=True, help=_FROM_STDIN)
@with_settings
def password(settings: Settings, name: str, password_stdin: bool) -> None:
    """Give NAME another password, and sign them out everywhere."""
    _check_there_is_whom_to_ask(from_stdin=password_stdin)

    async def act(administration: Administration) -> None:
        await administration.user(name)
        await administration.set_password(name, _password(from_stdin=password_stdin))

    administer(settings, act)
    click.echo(f"{name} has another password, and is signed out everywhere.")


@user.command(short_help="End an account for good.")
@click.argument("name")
@click.option("--erase", is_flag=True, help="Also forget what they said, for those who come later.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_settings
def deactivate(settings: Settings, name: str, erase: bool, yes: bool) -> None:
    """End NAME's account for good: they leave every room, and the name is never given again."""

    async def act(administration: Administration) -> None:
        account = await administration.user(name)
        if not yes:
            click.confirm(f"End the account of {account.user_id} for good?", abort=True)
        await administration.deactivate(name, erase=erase)

    administer(settings, act)
    click.echo(f"{name} is deactivated.")


@user.command(short_help="Lock a user out, or let them in again.")
@click.argument("name")
@click.option("--undo", is_flag=True, help="Let them in again.")
@with_settings
def lock(settings: Settings, name: str, undo: bool) -> None:
    """Lock NAME out of everything; their sessions wait for them."""
    administer(settings, lambda administration: administration.set_locked(name, locked=not undo))
    click.echo(f"{name} is {'no longer ' if undo else ''}locked.")


@user.command(short_help="Leave a user little but to read and to go.")
@click.argument("name")
@click.option("--undo", is_flag=True, help="Let them do everything again.")
@with_settings
def suspend(settings: Settings, name: str, undo: bool) -> None:
    """Suspend NAME: they read, leave rooms and redact what they said, and do little else."""
    administer(settings, lambda administration: administration.set_suspended(name, suspended=not undo))
    click.echo(f"{name} is {'no longer ' if undo else ''}suspended.")


def _check_there_is_whom_to_ask(*, from_stdin: bool) -> None:
    if not from_stdin and not sys.stdin.isatty():
        raise click.UsageError("there is no terminal to ask for the password at: use --password-stdin")


def _password(*, from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\n")
    entered: str = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    return entered
