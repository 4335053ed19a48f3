"""`tricord spec …`: how much of Matrix there is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from tricord.homeserver.specification import EndpointRow


@click.group()
def spec() -> None:
    """Look at what Matrix asks for and what is here."""


@spec.command(short_help="Print every endpoint of Matrix, and where it is.")
@click.option("--missing", is_flag=True, help="Only what is not there yet.")
def coverage(*, missing: bool) -> None:
    """Print for each endpoint of the specification which module serves it and which calls it.

    Where a side has nothing to do, the reason is given instead.
    """
    from tricord.homeserver.specification import endpoint_tables

    for table in endpoint_tables():
        served, called = sum(bool(row.served) for row in table.rows), sum(bool(row.called) for row in table.rows)
        click.echo(f"{table.api} {table.version}: {len(table.rows)} endpoints, {served} served, {called} called")
        _print(table.rows, missing=missing)
        if table.extensions and not missing:
            click.echo(f"Beyond the {table.api}: {len(table.extensions)} endpoints")
            _print(table.extensions, missing=False)


def _print(rows: Iterable[EndpointRow], *, missing: bool) -> None:
    for row in rows:
        if row.missing or not missing:
            click.echo(f"  {row.method:<6} {row.path}")
            click.echo(f"         {_described(row)}")


def _described(row: EndpointRow) -> str:
    sides = [
        f"served by {row.served}" if row.served else f"not served: {row.not_served or 'missing'}",
        f"called by {row.called}" if row.called else f"not called: {row.not_called or 'missing'}",
    ]
    return "; ".join([*sides, f"since {row.since}"] if row.since else sides)
