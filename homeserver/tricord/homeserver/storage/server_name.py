"""Whose database it is: the name that the first start gave the server stays its name."""

from __future__ import annotations

from tricord.homeserver.storage.database import Transaction
from tricord.homeserver.storage.errors import DatabaseError


class OtherServersDatabase(DatabaseError):
    """The database belongs to a server of another name."""


async def claim_server_name(tx: Transaction, name: str) -> None:
    """Make the database that of the server `name`; raise OtherServersDatabase if it is another's."""
    await tx.execute("INSERT INTO server_name (name) VALUES ($1) ON CONFLICT DO NOTHING", name)
    found = await tx.fetchval("SELECT name FROM server_name")
    if found != name:
        raise OtherServersDatabase(
            f"the database is that of {found}, and the settings name {name}: give server_name = {found!r}, or another "
            "database; a server's name cannot be changed"
        )
