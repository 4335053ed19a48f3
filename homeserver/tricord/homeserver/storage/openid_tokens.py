"""The table of OpenID tokens: each tells other services who a user is."""

from __future__ import annotations

from tricord.homeserver.storage.database import Transaction
from tricord.protocol.identifiers import UserId


async def insert_openid_token(
    tx: Transaction, token_hash: bytes, user_id: UserId, expires_ts: int, *, now_ts: int
) -> None:
    """Add an OpenID token; forget those that have expired."""
    await tx.execute("DELETE FROM openid_tokens WHERE expires_ts <= $1", now_ts)
    await tx.execute(
        "INSERT INTO openid_tokens (token_hash, user_id, expires_ts) VALUES ($1, $2, $3)",
        token_hash,
        user_id,
        expires_ts,
    )


async def user_of_openid_token(tx: Transaction, token_hash: bytes, *, now_ts: int) -> UserId | None:
    """Return whose an OpenID token is; None if it is unknown or expired, or its user may do nothing."""
    user_id: UserId | None = await tx.fetchval(
        """
        SELECT user_id FROM openid_tokens JOIN accounts USING (user_id)
        WHERE token_hash = $1 AND expires_ts > $2 AND NOT locked AND NOT deactivated
        """,
        token_hash,
        now_ts,
    )
    return user_id


async def delete_openid_tokens(tx: Transaction, user_id: UserId) -> None:
    """Delete the OpenID tokens of a user."""
    await tx.execute("DELETE FROM openid_tokens WHERE user_id = $1", user_id)
