"""When something last happened in rooms, asked of the log."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import orjson

from tricord.homeserver.storage.database import Transaction
from tricord.protocol.identifiers import RoomId


async def room_activities(tx: Transaction, room_ids: Collection[RoomId]) -> list[tuple[RoomId, int, str | None]]:
    """Return the position of the last event of each room, and the room's type."""
    rows = await tx.fetch(
        """
        SELECT r.room_id, newest.position, creation.json FROM rooms r
        CROSS JOIN LATERAL (
            SELECT e.position FROM events e
            WHERE e.room_nid = r.room_nid AND e.position IS NOT NULL AND NOT e.rejected AND NOT e.soft_failed
            ORDER BY e.position DESC, e.backfill_rank DESC LIMIT 1
        ) newest
        LEFT JOIN current_state s ON s.room_nid = r.room_nid AND s.type = 'm.room.create' AND s.state_key = ''
        LEFT JOIN events creation ON creation.event_nid = s.event_nid
        WHERE r.room_id = ANY($1)
        """,
        list(room_ids),
    )
    return [(room_id, position, _room_type(creation)) for room_id, position, creation in rows]


async def bump_positions(
    tx: Transaction, room_ids: Collection[RoomId], types: Sequence[str], upto: int
) -> dict[RoomId, int]:
    """Return for each room the position of its last event of some types, up to a position."""
    rows = await tx.fetch(
        """
        SELECT r.room_id, newest.position FROM rooms r CROSS JOIN LATERAL (
            SELECT e.position FROM events e
            WHERE e.room_nid = r.room_nid AND e.position <= $3 AND e.type = ANY($2)
                AND NOT e.rejected AND NOT e.soft_failed
            ORDER BY e.position DESC, e.backfill_rank DESC LIMIT 1
        ) newest
        WHERE r.room_id = ANY($1)
        """,
        list(room_ids),
        list(types),
        upto,
    )
    return {row[0]: row[1] for row in rows}


def _room_type(creation: bytes | None) -> str | None:
    # The event's own type is one; only where there is another need it be parsed.
    if creation is None or creation.count(b'"type"') < 2:
        return None
    content = orjson.loads(creation).get("content")
    room_type = content.get("type") if isinstance(content, dict) else None
    return room_type if isinstance(room_type, str) else None
