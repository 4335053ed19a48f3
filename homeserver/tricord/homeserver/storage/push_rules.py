"""The table of push rules: what each user has changed, as one document."""

from __future__ import annotations

from collections.abc import Sequence

from tricord.homeserver.storage.database import Transaction
from tricord.protocol.identifiers import UserId


async def push_rule_changes(tx: Transaction, user_ids: Sequence[UserId]) -> dict[UserId, tuple[bytes, int]]:
    """Return the document and the position of those users who have changed their rules."""
    rows = await tx.fetch("SELECT user_id, changes, position FROM push_rules WHERE user_id = ANY($1)", list(user_ids))
    return {row[0]: (row[1], row[2]) for row in rows}


async def locked_push_rule_changes(tx: Transaction, user_id: UserId) -> bytes | None:
    """Return a user's document, and keep others from writing it until the transaction ends."""
    await tx.execute("SELECT pg_advisory_xact_lock(hashtextextended('push_rules/' || $1, 0))", user_id)
    changes: bytes | None = await tx.fetchval("SELECT changes FROM push_rules WHERE user_id = $1", user_id)
    return changes


async def put_push_rule_changes(tx: Transaction, user_id: UserId, changes: bytes, position: int) -> None:
    """Write a user's document."""
    await tx.execute(
        """
        INSERT INTO push_rules (user_id, changes, position) VALUES ($1, $2, $3)
        ON CONFLICT (user_id) DO UPDATE SET changes = excluded.changes, position = excluded.position
        """,
        user_id,
        changes,
        position,
    )
