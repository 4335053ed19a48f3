"""Roles that may have only so many connections."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit

from tricord.homeserver.storage.database import Database


@asynccontextmanager
async def role_limited_to(
    connections: int, database: Database, url: str
) -> AsyncIterator[tuple[str, Callable[[int], Awaitable[None]]]]:
    """Give the database's URL for a role that may have so many connections, and what changes how many."""
    role = f"tricord_limited_{secrets.token_hex(4)}"

    async def limit(connections: int) -> None:
        async with database.transaction() as tx:
            await tx.execute(f"ALTER ROLE {role} CONNECTION LIMIT {connections}")

    async with database.transaction() as tx:
        await tx.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{role}' CONNECTION LIMIT {connections}")
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    try:
        yield urlunsplit(parts._replace(netloc=f"{role}:{role}@{host}")), limit
    finally:
        async with database.transaction() as tx:
            await tx.execute(f"DROP ROLE {role}")
