"""The table of user-interactive authentication that is under way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tricord.homeserver.storage.database import Transaction


@dataclass(frozen=True, slots=True)
class InteractiveSession:
    """What has been shown so far, and for which request."""

    request_mac: bytes
    completed: tuple[str, ...]
    registration_token: str | None


async def insert_interactive_session(
    tx: Transaction, session_hash: bytes, request_mac: bytes, expires_ts: int, *, now_ts: int
) -> None:
    """Begin one; forget some of those that nobody finished."""
    await tx.execute(
        """
        DELETE FROM interactive_sessions WHERE session_hash = ANY(ARRAY(
            SELECT session_hash FROM interactive_sessions WHERE expires_ts <= $1 LIMIT 100 FOR UPDATE SKIP LOCKED
        ))
        """,
        now_ts,
    )
    await tx.execute(
        "INSERT INTO interactive_sessions (session_hash, request_mac, expires_ts) VALUES ($1, $2, $3)",
        session_hash,
        request_mac,
        expires_ts,
    )


async def interactive_session(tx: Transaction, session_hash: bytes, *, now_ts: int) -> InteractiveSession | None:
    """Return one that has not expired."""
    row = await tx.fetchrow(
        """
        SELECT request_mac, completed, registration_token FROM interactive_sessions
        WHERE session_hash = $1 AND expires_ts > $2
        """,
        session_hash,
        now_ts,
    )
    return None if row is None else InteractiveSession(row[0], tuple(row[1]), row[2])


async def complete_stage(tx: Transaction, session_hash: bytes, stage: str, registration_token: str | None) -> None:
    """Note that a stage has been completed."""
    await tx.execute(
        """
        UPDATE interactive_sessions SET completed = array_append(completed, $2),
               registration_token = coalesce($3, registration_token)
        WHERE session_hash = $1 AND NOT $2 = ANY(completed)
        """,
        session_hash,
        stage,
        registration_token,
    )


async def take_interactive_session(tx: Transaction, session_hash: bytes, stages: Sequence[str]) -> bool:
    """Use up one with exactly these stages completed; return False if another request has done so already."""
    taken = await tx.fetchval(
        "DELETE FROM interactive_sessions WHERE session_hash = $1 AND completed @> $2::text[] RETURNING true",
        session_hash,
        list(stages),
    )
    return bool(taken)
