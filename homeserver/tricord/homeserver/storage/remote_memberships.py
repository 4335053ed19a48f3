"""SQL of what local users are to rooms that this server is not in."""

from __future__ import annotations

from tricord.homeserver.storage.database import Transaction
from tricord.homeserver.storage.outliers import OutlierRow, insert_outliers
from tricord.homeserver.storage.stream import take_positions
from tricord.protocol.identifiers import RoomId


async def known_room(tx: Transaction, room_id: RoomId, version: str) -> tuple[int, int, bytes]:
    """Return the number, the head and the root of the state of a room; one that is new here gets a number.

    Until its first event has a place, such a room is here for nobody but those who are invited to it, or were.
    """
    await tx.execute(
        """
        INSERT INTO rooms (room_id, version, head, state_root, extremities) VALUES ($1, $2, 0, '', '{}')
        ON CONFLICT (room_id) DO NOTHING
        """,
        room_id,
        version,
    )
    (row,) = await tx.fetch("SELECT room_nid, head, state_root FROM rooms WHERE room_id = $1", room_id)
    return row[0], row[1], row[2]


async def version_of_room(tx: Transaction, room_id: RoomId) -> str | None:
    """Return the version of a room that is known, whether this server is in it or not."""
    version: str | None = await tx.fetchval("SELECT version FROM rooms WHERE room_id = $1", room_id)
    return version


async def put_remote_membership(tx: Transaction, row: OutlierRow, user_id: str, membership: str) -> int:
    """Write a member event without a place, and what it makes of the user; return the position."""
    await insert_outliers(tx, [row])
    (found,) = await tx.fetch("SELECT event_nid FROM events WHERE event_id = $1", row.event_id)
    position = await take_positions(tx, 1)
    await tx.execute(
        """
        INSERT INTO room_memberships AS m (user_id, room_nid, membership, event_nid, sender, position, since)
        VALUES ($1, $2, $3, $4, $5, $6, $6)
        ON CONFLICT (user_id, room_nid) DO UPDATE SET
            membership = excluded.membership, event_nid = excluded.event_nid, sender = excluded.sender,
            position = excluded.position,
            since = CASE WHEN m.membership = excluded.membership THEN m.since ELSE excluded.since END,
            forgotten = m.forgotten AND excluded.membership IN ('leave', 'ban')
        """,
        user_id,
        row.room_nid,
        membership,
        found[0],
        row.sender,
        position,
    )
    return position
