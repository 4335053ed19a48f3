"""SQL of `hierarchy_walks`."""

from __future__ import annotations

from tricord.homeserver.storage.database import Transaction
from tricord.protocol.identifiers import UserId


async def put_walk(
    tx: Transaction, token: str, user_id: UserId, walk: bytes, now_ms: int, *, lasts_ms: int, most: int
) -> None:
    """Keep a walk, and drop those that are too old, or too many for one user."""
    await tx.execute("DELETE FROM hierarchy_walks WHERE created_ts < $1", now_ms - lasts_ms)
    await tx.execute(
        """
        DELETE FROM hierarchy_walks WHERE token IN (
            SELECT token FROM hierarchy_walks WHERE user_id = $1 ORDER BY created_ts DESC OFFSET $2
        )
        """,
        user_id,
        most - 1,
    )
    await tx.execute(
        "INSERT INTO hierarchy_walks (token, user_id, created_ts, walk) VALUES ($1, $2, $3, $4)",
        token,
        user_id,
        now_ms,
        walk,
    )


async def walk_named(tx: Transaction, token: str, user_id: UserId) -> bytes | None:
    """Return a walk of a user."""
    walk: bytes | None = await tx.fetchval(
        "SELECT walk FROM hierarchy_walks WHERE token = $1 AND user_id = $2", token, user_id
    )
    return walk
