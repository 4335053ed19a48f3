"""`tricord report …`: what users reported."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from tricord.homeserver.cli.administration import administer
from tricord.homeserver.cli.options import with_settings

if TYPE_CHECKING:
    from tricord.homeserver.accounts.administration import Administration
    from tricord.homeserver.moderation.reports import ReportDesk
    from tricord.homeserver.settings import Settings
    from tricord.homeserver.storage.reports import Report


@click.group(short_help="Go through what users reported.")
def report() -> None:
    """Events, rooms and users that were reported. Works whether the server runs or not."""


@report.command("list", short_help="List the reports.")
@click.option("--all", "closed_too", is_flag=True, help="Those that were closed, too.")
@with_settings
def list_(settings: Settings, closed_too: bool) -> None:
    """List the reports that are open, a line each: number, time, what is reported, by whom, and why."""

    async def act(administration: Administration) -> list[Report]:
        return [one async for one in _desk(administration).reports(closed_too=closed_too)]

    for one in administer(settings, act):
        reason = f": {_printable(one.reason)}" if one.reason else ""
        closed = " (closed)" if one.closed_ts is not None else ""
        click.echo(f"{one.report_id}{closed}  {_time(one.reported_ts)}  {_subject(one)}, by {one.reporter}{reason}")


@report.command(short_help="Show a report.")
@click.argument("number", type=int)
@with_settings
def show(settings: Settings, number: int) -> None:
    """Show report NUMBER, with the event as it was."""

    async def act(administration: Administration) -> Report:
        return await _desk(administration).report(number)

    found = administer(settings, act)
    told = {
        "reported": f"{_time(found.reported_ts)} by {found.reporter}",
        "event": found.event_id,
        "room": found.room_id,
        "user": found.about_user,
        "reason": _printable(found.reason),
        "closed": None if found.closed_ts is None else _time(found.closed_ts),
        "content": None if found.event_json is None else _printable(found.event_json.decode("utf-8", "replace")),
    }
    for name, value in told.items():
        if value:
            click.echo(f"{name + ':':10}{value}")


@report.command(short_help="Note that a report has been dealt with.")
@click.argument("number", type=int)
@with_settings
def close(settings: Settings, number: int) -> None:
    """Note that report NUMBER has been dealt with: it is no longer listed."""

    async def act(administration: Administration) -> None:
        await _desk(administration).close(number)

    administer(settings, act)
    click.echo(f"Report {number} is closed.")


def _desk(administration: Administration) -> ReportDesk:
    from tricord.homeserver.moderation.reports import ReportDesk

    return ReportDesk(administration.database, administration.clock)


def _subject(found: Report) -> str:
    if found.event_id is not None:
        return f"event {found.event_id} of {found.about_user} in {found.room_id}"
    return f"room {found.room_id}" if found.room_id is not None else f"user {found.about_user}"


def _time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _printable(text: str) -> str:
    """Return what a terminal shows as text: reports are written by anybody."""
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)
