"""What `tricord doctor` asks a database about itself."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import trio

from tricord.homeserver.storage.connection import Connection
from tricord.homeserver.storage.database import Transaction
from tricord.homeserver.storage.errors import DatabaseUnavailable
from tricord.homeserver.storage.partial_rooms import CompletionProgress, completion_progress

_PATIENCE_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a database says of itself."""

    version: str
    major: int
    encoding: str
    synchronous_commit: bool
    connections: int
    """How many we may have at once, by the least of what limits them."""
    clock_ahead_seconds: float
    """This machine's clock, as against the database's."""
    completing: Sequence[CompletionProgress] = ()
    """Rooms that were joined without their members, and still lack them."""


async def inspect_database(url: str) -> Inspection:
    """Connect and look. Raises DatabaseError."""
    with trio.move_on_after(_PATIENCE_SECONDS):
        connection = await Connection.open(url, application_name="tricord doctor")
        try:
            (row,) = await connection.fetch(
                """
                SELECT current_setting('server_version') AS version,
                       current_setting('server_version_num')::integer / 10000 AS major,
                       current_setting('server_encoding') AS encoding,
                       current_setting('synchronous_commit') <> 'off' AS synchronous_commit,
                       extract(epoch FROM clock_timestamp())::float8 AS clock,
                       CASE WHEN rolsuper THEN current_setting('max_connections')::integer ELSE least(
                           current_setting('max_connections')::integer
                               - current_setting('superuser_reserved_connections')::integer
                               - coalesce(current_setting('reserved_connections', true), '0')::integer,
                           nullif(rolconnlimit, -1), nullif(datconnlimit, -1)
                       ) END AS connections
                FROM pg_roles, pg_database WHERE rolname = current_user AND datname = current_database()
                """
            )
            ahead = time.time() - row["clock"]
            has_rooms = await connection.fetch(
                "SELECT FROM information_schema.columns WHERE table_name = 'partial_rooms' AND column_name = 'expected'"
            )
            completing = await completion_progress(Transaction(connection)) if has_rooms else ()
            return Inspection(
                row["version"],
                row["major"],
                row["encoding"],
                row["synchronous_commit"],
                row["connections"],
                ahead,
                completing,
            )
        finally:
            await connection.aclose()
    raise DatabaseUnavailable(f"it did not answer within {_PATIENCE_SECONDS} s")
