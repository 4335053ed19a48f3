"""SQL of `server_keys`."""

from __future__ import annotations

from collections.abc import Collection

from tricord.homeserver.storage.database import Transaction
from tricord.protocol.identifiers import ServerName


async def key_rows(tx: Transaction, servers: Collection[ServerName]) -> list[tuple[ServerName, int, int, bytes, bytes]]:
    """Return server, validity, time of asking, document and keys of those servers that are known."""
    rows = await tx.fetch(
        "SELECT server_name, valid_until_ts, fetched_ts, document, keys FROM server_keys WHERE server_name = ANY($1)",
        list(servers),
    )
    return [(row[0], row[1], row[2], row[3], row[4]) for row in rows]


async def put_key_row(
    tx: Transaction, server: ServerName, valid_until_ts: int, fetched_ts: int, document: bytes, keys: bytes
) -> None:
    """Keep what a server publishes."""
    await tx.execute(
        """
        INSERT INTO server_keys (server_name, valid_until_ts, fetched_ts, document, keys) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (server_name) DO UPDATE SET
            valid_until_ts = excluded.valid_until_ts, fetched_ts = excluded.fetched_ts,
            document = excluded.document, keys = excluded.keys
        """,
        server,
        valid_until_ts,
        fetched_ts,
        document,
        keys,
    )
