"""The tables of sessions and of the tokens that belong to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tricord.homeserver.storage.database import Transaction
from tricord.protocol.identifiers import DeviceId, UserId


@dataclass(frozen=True, slots=True)
class TokenPair:
    """An access token, and the refresh token given with it, as they are stored."""

    access_token_hash: bytes
    access_expires_ts: int | None
    refresh_token_hash: bytes | None
    refresh_expires_ts: int | None


@dataclass(frozen=True, slots=True)
class Holder:
    """Whose token it is."""

    user_id: UserId
    device_id: DeviceId
    session_id: int
    pair_id: int
    expires_ts: int | None
    replaces: int | None
    is_admin: bool
    is_guest: bool
    locked: bool
    suspended: bool
    deactivated: bool


_HOLDER = """
    SELECT {hash}, sessions.user_id, sessions.device_id, sessions.session_id, pairs.pair_id, {expires}, pairs.replaces,
           accounts.is_admin, accounts.is_guest, accounts.locked, accounts.suspended,
           accounts.deactivated
    FROM token_pairs AS pairs JOIN sessions USING (session_id) JOIN accounts USING (user_id)
"""
_HOLDERS_OF_ACCESS_TOKENS = (
    _HOLDER.format(hash="access_token_hash", expires="access_expires_ts") + "WHERE access_token_hash = ANY($1)"
)
_HOLDER_OF_REFRESH_TOKEN = (
    # Two refreshes with the same token at once would both make a pair; the second waits, and replaces the first's.
    # The session is locked first: who ends it takes its pairs along, and who ends a pair changes the one after it.
    _HOLDER.format(hash="refresh_token_hash", expires="refresh_expires_ts")
    + "WHERE refresh_token_hash = $1 FOR NO KEY UPDATE OF sessions FOR UPDATE OF pairs"
)


async def end_session_of_device(tx: Transaction, user_id: UserId, device_id: DeviceId) -> list[int]:
    """Delete the session of a device, and with it the tokens; return its id."""
    rows = await tx.fetch(
        "DELETE FROM sessions WHERE user_id = $1 AND device_id = $2 RETURNING session_id", user_id, device_id
    )
    return [row[0] for row in rows]


async def insert_session(tx: Transaction, user_id: UserId, device_id: DeviceId, created_ts: int) -> int:
    """Add a session for a device that has none; return its id."""
    session_id: int = await tx.fetchval(
        "INSERT INTO sessions (user_id, device_id, created_ts) VALUES ($1, $2, $3) RETURNING session_id",
        user_id,
        device_id,
        created_ts,
    )
    return session_id


async def insert_token_pair(tx: Transaction, session_id: int, pair: TokenPair, *, replaces: int | None = None) -> None:
    """Add tokens to a session. Those that were to replace the same pair and were never used are dropped."""
    if replaces is not None:
        await tx.execute("DELETE FROM token_pairs WHERE replaces = $1", replaces)
    await tx.execute(
        """
        INSERT INTO token_pairs (
            session_id, access_token_hash, access_expires_ts, refresh_token_hash, refresh_expires_ts, replaces
        ) VALUES ($1, $2, $3, $4, $5, $6)
        """,
        session_id,
        pair.access_token_hash,
        pair.access_expires_ts,
        pair.refresh_token_hash,
        pair.refresh_expires_ts,
        replaces,
    )


async def holders_of_access_tokens(tx: Transaction, hashes: Sequence[bytes]) -> dict[bytes, Holder]:
    """Return whose access tokens those are."""
    rows = await tx.fetch(_HOLDERS_OF_ACCESS_TOKENS, list(hashes))
    return {hashed: Holder(*holder) for hashed, *holder in rows}


async def holder_of_refresh_token(tx: Transaction, token_hash: bytes) -> Holder | None:
    """Return whose refresh token it is, and let nobody else refresh with it until the transaction ends."""
    row = await tx.fetchrow(_HOLDER_OF_REFRESH_TOKEN, token_hash)
    return None if row is None else Holder(*row[1:])


async def delete_token_pair(tx: Transaction, session_id: int, pair_id: int) -> None:
    """Delete tokens of a session that have been replaced."""
    await tx.execute("SELECT FROM sessions WHERE session_id = $1 FOR NO KEY UPDATE", session_id)
    await tx.execute("DELETE FROM token_pairs WHERE pair_id = $1", pair_id)


async def sessions_of(tx: Transaction, user_id: UserId) -> list[int]:
    """Return the ids of a user's sessions."""
    return [row[0] for row in await tx.fetch("SELECT session_id FROM sessions WHERE user_id = $1", user_id)]
