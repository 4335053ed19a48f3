"""The tables of who is typing where, and until when."""

from __future__ import annotations

from collections.abc import Sequence

from tricord.homeserver.storage.database import Transaction
from tricord.protocol.identifiers import RoomId, UserId


async def change_typing(tx: Transaction, changes: Sequence[tuple[RoomId, UserId, int | None]]) -> set[RoomId]:
    """Note until when some users type, None: no longer; return the rooms in which one of them began to, or ended."""
    started = [(room_id, user_id, until) for room_id, user_id, until in changes if until is not None]
    stopped = [(room_id, user_id) for room_id, user_id, until in changes if until is None]
    if stopped:
        # What is started is locked in order of itself; what is stopped is not, nor are both together.
        await _lock(tx, [(room_id, user_id) for room_id, user_id, _ in changes])
    changed = await _start(tx, started) if started else set()
    return changed | (await _stop(tx, stopped) if stopped else set())


async def _lock(tx: Transaction, typing: Sequence[tuple[RoomId, UserId]]) -> None:
    await tx.execute(
        """
        SELECT FROM typing JOIN unnest($1::text[], $2::text[]) AS t (room_id, user_id) USING (room_id, user_id)
        ORDER BY room_id, user_id FOR UPDATE OF typing
        """,
        [room_id for room_id, _ in typing],
        [user_id for _, user_id in typing],
    )


async def _start(tx: Transaction, typing: Sequence[tuple[RoomId, UserId, int]]) -> set[RoomId]:
    rows = await tx.fetch(
        """
        WITH noted AS (
            INSERT INTO typing (room_id, user_id, until_ts) SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[])
            -- In one order everywhere, so that two who note the same do not wait for each other in a circle.
            ORDER BY 1, 2
            ON CONFLICT (room_id, user_id) DO UPDATE SET until_ts = excluded.until_ts
            RETURNING room_id, xmax = 0 AS inserted
        )
        SELECT DISTINCT room_id FROM noted WHERE inserted
        """,
        [room_id for room_id, _, _ in typing],
        [user_id for _, user_id, _ in typing],
        [until for _, _, until in typing],
    )
    return {row[0] for row in rows}


async def _stop(tx: Transaction, typing: Sequence[tuple[RoomId, UserId]]) -> set[RoomId]:
    rows = await tx.fetch(
        """
        WITH over AS (
            DELETE FROM typing USING unnest($1::text[], $2::text[]) AS stopped (room, who)
            WHERE room_id = room AND user_id = who
            RETURNING room_id
        )
        SELECT DISTINCT room_id FROM over
        """,
        [room_id for room_id, _ in typing],
        [user_id for _, user_id in typing],
    )
    return {row[0] for row in rows}


async def end_typing_until(tx: Transaction, now_ms: int) -> set[RoomId]:
    """Remove those whose time is up, and return the rooms that changed."""
    rows = await tx.fetch(
        """
        WITH ended AS MATERIALIZED (
            SELECT room_id, user_id FROM typing WHERE until_ts <= $1 ORDER BY room_id, user_id FOR UPDATE
        ), over AS (
            DELETE FROM typing t USING ended e WHERE (t.room_id, t.user_id) = (e.room_id, e.user_id) RETURNING t.room_id
        )
        SELECT DISTINCT room_id FROM over
        """,
        now_ms,
    )
    return {row[0] for row in rows}


async def place_typing(tx: Transaction, room_ids: Sequence[RoomId], position: int) -> None:
    """Note the place in the stream at which the typing in some rooms changed."""
    await tx.execute(
        """
        INSERT INTO typing_changes (room_id, position) SELECT unnest($1::text[]), $2
        ON CONFLICT (room_id) DO UPDATE SET position = excluded.position
        """,
        list(room_ids),
        position,
    )


async def typing_in(tx: Transaction, room_ids: Sequence[RoomId]) -> list[tuple[RoomId, UserId, int]]:
    """Return (room, user, until) of those who type in some rooms."""
    rows = await tx.fetch(
        "SELECT room_id, user_id, until_ts FROM typing WHERE room_id = ANY($1) ORDER BY user_id", list(room_ids)
    )
    return [(row[0], row[1], row[2]) for row in rows]


async def typing_changes(tx: Transaction, room_ids: Sequence[RoomId], after: int) -> dict[RoomId, int]:
    """Return which of some rooms had a change after a position, and where the last one was."""
    rows = await tx.fetch(
        "SELECT room_id, position FROM typing_changes WHERE room_id = ANY($1) AND position > $2",
        list(room_ids),
        after,
    )
    return {row[0]: row[1] for row in rows}


async def next_typing_end(tx: Transaction) -> int | None:
    """Return when the next one is over, in milliseconds since the epoch."""
    end: int | None = await tx.fetchval("SELECT min(until_ts) FROM typing")
    return end
