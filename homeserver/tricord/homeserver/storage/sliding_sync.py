"""The table of what connections of sliding sync have been told."""

from __future__ import annotations

from collections.abc import Collection

from tricord.homeserver.storage.database import Transaction

# Of a connection, and connections of a session.
_MOST_KEPT = 3
_MOST_CONNECTIONS = 20


async def put_told(
    tx: Transaction, session_id: int, conn_id: str, told_id: int, told: bytes, *, keep: Collection[int]
) -> None:
    """Keep what a connection is told, the last few before it, and those that are named; a new one names none.

    One statement, which takes no transaction around it. What a crash of the whole machine loses is told again, after
    M_UNKNOWN_POS: no need to wait for the disk.
    """
    await tx.execute(
        """
        WITH hurry AS (SELECT set_config('synchronous_commit', 'off', true)),
        older AS (
            DELETE FROM sliding_sync_told
            WHERE session_id = $1 AND conn_id = $2 AND NOT told_id = ANY($5) AND told_id NOT IN (
                SELECT told_id FROM sliding_sync_told WHERE session_id = $1 AND conn_id = $2
                ORDER BY number DESC LIMIT $6
            )
        ),
        oldest AS (
            DELETE FROM sliding_sync_told
            WHERE session_id = $1 AND cardinality($5::bigint[]) = 0 AND conn_id IN (
                SELECT conn_id FROM sliding_sync_told WHERE session_id = $1 AND conn_id <> $2
                GROUP BY conn_id ORDER BY max(number) DESC OFFSET $7
            )
        )
        INSERT INTO sliding_sync_told (session_id, conn_id, told_id, told) SELECT $1, $2, $3, $4 FROM hurry
        """,
        session_id,
        conn_id,
        told_id,
        told,
        list(keep),
        _MOST_KEPT - 1 if keep else 0,
        _MOST_CONNECTIONS - 1,
    )


async def told_by_id(tx: Transaction, session_id: int, conn_id: str, told_id: int) -> bytes | None:
    """Return what a connection was told, if it is kept."""
    told: bytes | None = await tx.fetchval(
        "SELECT told FROM sliding_sync_told WHERE session_id = $1 AND conn_id = $2 AND told_id = $3",
        session_id,
        conn_id,
        told_id,
    )
    return told
