"""The table of filters."""

from __future__ import annotations

import hashlib

from tricord.homeserver.storage.database import Transaction
from tricord.protocol.identifiers import UserId


async def put_filter(tx: Transaction, user_id: UserId, definition: bytes) -> int:
    """Keep a filter, and return its id: the old one, if the user has the same filter already."""
    digest = hashlib.sha256(definition).digest()
    # Two first filters at once would be given the same number.
    await tx.execute("SELECT 1 FROM accounts WHERE user_id = $1 FOR UPDATE", user_id)
    filter_id: int = await tx.fetchval(
        """
        WITH inserted AS (
            INSERT INTO filters (user_id, filter_id, definition, digest)
            SELECT $1, coalesce(max(filter_id), 0) + 1, $2, $3 FROM filters WHERE user_id = $1
            ON CONFLICT (user_id, digest) DO NOTHING RETURNING filter_id
        )
        SELECT filter_id FROM inserted
        UNION ALL SELECT filter_id FROM filters WHERE user_id = $1 AND digest = $3 LIMIT 1
        """,
        user_id,
        definition,
        digest,
    )
    return filter_id


async def filter_definition(tx: Transaction, user_id: UserId, filter_id: int) -> bytes | None:
    """Return the JSON of a filter."""
    definition: bytes | None = await tx.fetchval(
        "SELECT definition FROM filters WHERE user_id = $1 AND filter_id = $2", user_id, filter_id
    )
    return definition


async def delete_filters(tx: Transaction, user_id: UserId) -> None:
    """Delete the filters of a user."""
    await tx.execute("DELETE FROM filters WHERE user_id = $1", user_id)
