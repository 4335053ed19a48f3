"""Which rooms changed, asked of the tables: for positions older than what memory knows."""

from __future__ import annotations

from collections.abc import Collection

from tricord.homeserver.storage.database import Transaction
from tricord.protocol.identifiers import RoomId


async def rooms_changed(tx: Transaction, room_ids: Collection[RoomId], after: int, upto: int) -> list[RoomId]:
    """Return those of the rooms with events, receipts or typing after one position, up to another."""
    rows = await tx.fetch(
        """
        SELECT room_id FROM rooms
        WHERE room_id = ANY($1) AND (
            EXISTS (SELECT FROM events e WHERE e.room_nid = rooms.room_nid AND e.position > $2 AND e.position <= $3)
            OR EXISTS (
                SELECT FROM receipts r WHERE r.room_id = rooms.room_id AND r.position > $2 AND r.position <= $3
            )
            OR EXISTS (SELECT FROM typing_changes t WHERE t.room_id = rooms.room_id AND t.position > $2)
        )
        """,
        list(room_ids),
        after,
        upto,
    )
    return [row[0] for row in rows]
