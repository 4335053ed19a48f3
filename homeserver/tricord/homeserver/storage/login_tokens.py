"""The table of login tokens: each opens one session."""

from __future__ import annotations

from tricord.homeserver.storage.database import Transaction
from tricord.protocol.identifiers import UserId


async def insert_login_token(
    tx: Transaction, token_hash: bytes, user_id: UserId, expires_ts: int, *, now_ts: int
) -> None:
    """Add a login token; forget those that have expired."""
    await tx.execute("DELETE FROM login_tokens WHERE expires_ts <= $1", now_ts)
    await tx.execute(
        "INSERT INTO login_tokens (token_hash, user_id, expires_ts) VALUES ($1, $2, $3)",
        token_hash,
        user_id,
        expires_ts,
    )


async def take_login_token(tx: Transaction, token_hash: bytes, *, now_ts: int) -> UserId | None:
    """Use a login token up; return whose it was, or None if it is unknown, used or expired."""
    # One statement, so that of two at once only one gets it.
    user_id: UserId | None = await tx.fetchval(
        "DELETE FROM login_tokens WHERE token_hash = $1 AND expires_ts > $2 RETURNING user_id", token_hash, now_ts
    )
    return user_id


async def delete_login_tokens(tx: Transaction, user_id: UserId) -> None:
    """Delete the login tokens of a user."""
    await tx.execute("DELETE FROM login_tokens WHERE user_id = $1", user_id)
