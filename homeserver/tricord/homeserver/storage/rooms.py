"""SQL of `rooms` and `current_state`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from tricord.homeserver.storage.database import Transaction
from tricord.protocol.identifiers import EventId, RoomId


@dataclass(frozen=True, slots=True)
class RoomRow:
    """A room as it is; the extremities are event id, number and depth."""

    room_nid: int
    room_id: RoomId
    version: str
    head: int
    state_root: bytes
    extremities: tuple[tuple[EventId, int, int], ...]


async def rooms_by_id(tx: Transaction, room_ids: Sequence[RoomId]) -> list[RoomRow]:
    """Return those of the rooms that are here."""
    rows = await tx.fetch(
        """
        SELECT r.room_nid, r.room_id, r.version, r.head, r.state_root,
               array_agg(e.event_id ORDER BY e.event_nid), array_agg(e.event_nid ORDER BY e.event_nid),
               array_agg(e.depth ORDER BY e.event_nid)
        FROM rooms r JOIN events e ON e.event_nid = ANY(r.extremities)
        WHERE r.room_id = ANY($1) GROUP BY r.room_nid
        """,
        list(room_ids),
    )
    return [
        RoomRow(nid, room_id, version, head, root, tuple(zip(ids, nids, depths, strict=True)))
        for nid, room_id, version, head, root, ids, nids, depths in rows
    ]


async def new_room_nid(tx: Transaction) -> int:
    """Return a number for a room that will be inserted."""
    room_nid: int = await tx.fetchval("SELECT nextval(pg_get_serial_sequence('rooms', 'room_nid'))")
    return room_nid


async def insert_rooms(tx: Transaction, rooms: Sequence[tuple[int, RoomId, str]]) -> None:
    """Add rooms (number, id, version) without events, at head 0; their events follow in the same transaction."""
    await tx.execute(
        """
        INSERT INTO rooms (room_nid, room_id, version, head, state_root, extremities)
        SELECT room_nid, room_id, version, 0, '', '{}'
        FROM unnest($1::bigint[], $2::text[], $3::text[]) AS t (room_nid, room_id, version)
        """,
        [room_nid for room_nid, _, _ in rooms],
        [room_id for _, room_id, _ in rooms],
        [version for _, _, version in rooms],
    )


async def current_state_nids(tx: Transaction, keys: Sequence[tuple[int, str, str]]) -> dict[tuple[int, str, str], int]:
    """Return the event numbers of those (room number, type, state key) that are set."""
    rows = await tx.fetch(
        """
        SELECT s.room_nid, s.type, s.state_key, s.event_nid
        FROM unnest($1::bigint[], $2::text[], $3::text[]) AS wanted (room_nid, type, state_key)
        JOIN current_state s USING (room_nid, type, state_key)
        """,
        [key[0] for key in keys],
        [key[1] for key in keys],
        [key[2] for key in keys],
    )
    return {(row[0], row[1], row[2]): row[3] for row in rows}


async def current_state_nids_of_room(tx: Transaction, room_nid: int) -> list[int]:
    """Return the event numbers of a room's whole current state."""
    rows = await tx.fetch("SELECT event_nid FROM current_state WHERE room_nid = $1", room_nid)
    return [row[0] for row in rows]


async def current_state_nids_in_rooms(
    tx: Transaction, room_nids: Sequence[int], types: Sequence[str] | None
) -> list[int]:
    """Return the event numbers of the current state of some rooms, of some types (None: all)."""
    rows = await tx.fetch(
        "SELECT event_nid FROM current_state WHERE room_nid = ANY($1) AND ($2::text[] IS NULL OR type = ANY($2))",
        list(room_nids),
        None if types is None else list(types),
    )
    return [row[0] for row in rows]


async def current_state_nids_without_type(
    tx: Transaction, room_nids: Sequence[int], event_type: str
) -> list[tuple[int, bytes, int | None]]:
    """Return the numbers of some rooms, the roots of their state and what is set in them, but for one type.

    What has that type is not even looked at: of members there may be thousands. All of it is of the same moment.
    """
    rows = await tx.fetch(
        """
        SELECT r.room_nid, r.state_root, s.event_nid FROM rooms r LEFT JOIN LATERAL (
            SELECT event_nid FROM current_state WHERE room_nid = r.room_nid AND type < $2
            UNION ALL SELECT event_nid FROM current_state WHERE room_nid = r.room_nid AND type > $2
        ) s ON true
        WHERE r.room_nid = ANY($1)
        """,
        list(room_nids),
        event_type,
    )
    return [(row[0], row[1], row[2]) for row in rows]


async def rooms_with_state(
    tx: Transaction, room_ids: Sequence[RoomId], event_type: str, state_key: str
) -> list[RoomId]:
    """Return those of the rooms that have a piece of state."""
    rows = await tx.fetch(
        """
        SELECT r.room_id FROM rooms r JOIN current_state s USING (room_nid)
        WHERE r.room_id = ANY($1) AND s.type = $2 AND s.state_key = $3
        """,
        room_ids,
        event_type,
        state_key,
    )
    return [row[0] for row in rows]


async def state_nids_of_type_in_rooms(
    tx: Transaction, room_ids: Collection[RoomId], event_type: str, most_per_room: int
) -> list[int]:
    """Return the event numbers of the state of one type in some rooms; of rooms with very much of it, some."""
    rows = await tx.fetch(
        """
        SELECT s.event_nid FROM rooms r CROSS JOIN LATERAL (
            SELECT event_nid FROM current_state WHERE room_nid = r.room_nid AND type = $2
            ORDER BY state_key LIMIT $3
        ) s WHERE r.room_id = ANY($1)
        """,
        list(room_ids),
        event_type,
        most_per_room,
    )
    return [row[0] for row in rows]
