"""SQL of leases: advisory locks of a session, which end with it however it ends."""

from __future__ import annotations

from collections.abc import Iterable

from tricord.homeserver.storage.database import Transaction

# In place of the number of a part: held, and shared, by every process that takes part.
_ATTENDANCE = -1


async def attend(session: Transaction, kind: int) -> None:
    """Be counted among the processes that share a kind of work."""
    await session.fetchval("SELECT pg_advisory_lock_shared($1::integer, $2::integer)", kind, _ATTENDANCE)


async def attendance(session: Transaction, kind: int) -> int:
    """Return how many processes share a kind of work."""
    count: int = await session.fetchval(
        """
        SELECT count(*) FROM pg_locks
        WHERE locktype = 'advisory' AND granted AND classid = $1::bigint::oid AND objid = ($2::bigint & 4294967295)::oid
            AND objsubid = 2 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        """,
        kind,
        _ATTENDANCE,
    )
    return count


async def try_leases(session: Transaction, kind: int, parts: Iterable[int]) -> list[int]:
    """Take those parts that nobody else has, and return them."""
    rows = await session.fetch(
        "SELECT part FROM unnest($2::integer[]) AS part WHERE pg_try_advisory_lock($1::integer, part)",
        kind,
        list(parts),
    )
    return [row[0] for row in rows]


async def end_leases(session: Transaction, kind: int, parts: Iterable[int]) -> None:
    """Give parts back."""
    await session.fetch(
        "SELECT pg_advisory_unlock($1::integer, part) FROM unnest($2::integer[]) AS part", kind, list(parts)
    )
