"""SQL of what local users are to rooms that this server is not in."""

from __future__ import annotations

from tricord.homeserver.storage.database import Transaction
from tricord.homeserver.storage.outliers import OutlierRow, insert_outliers
from tricord.homeserver.storage.stream import take_positions
from tricord.protocol.identifiers import RoomId


async def known_room(tx: Transaction, room_id: RoomId, version: str) -> tuple[int, int, bytes] | None:
    """Return the number, the head and the root of the state of a room; one that is new here gets a number.

    Until its first event has a place, such a room is here for nobody but those who are invited to it, or were. None if
    it is known to have another version: its events cannot be read by the rules of two.
    """
    row = await tx.fetchrow(
        """
        INSERT INTO rooms (room_id, version, head, state_root, extremities) VALUES ($1, $2, 0, '', '{}')
        ON CONFLICT (room_id) DO NOTHING RETURNING room_nid, head, state_root
        """,
        room_id,
        version,
    )
    if row is None:
        row = await tx.fetchrow(
            "SELECT room_nid, head, state_root FROM rooms WHERE room_id = $1 AND version = $2", room_id, version
        )
    return None if row is None else (row[0], row[1], row[2])


async def forget_hearsay(tx: Transaction, room_id: RoomId, version: str) -> None:
    """Forget what was only told of a room as one of another version, before this server is in it."""
    found = await tx.fetchrow(
        "SELECT room_nid FROM rooms WHERE room_id = $1 AND version <> $2 AND head = 0 FOR UPDATE", room_id, version
    )
    if found is not None:
        await tx.execute("DELETE FROM room_memberships WHERE room_nid = $1", found[0])
        await tx.execute("DELETE FROM events WHERE room_nid = $1", found[0])
        await tx.execute("UPDATE rooms SET version = $2 WHERE room_nid = $1", found[0], version)


async def version_of_room(tx: Transaction, room_id: RoomId) -> str | None:
    """Return the version of a room that is known, whether this server is in it or not."""
    version: str | None = await tx.fetchval("SELECT version FROM rooms WHERE room_id = $1", room_id)
    return version


async def put_remote_membership(
    tx: Transaction, room_id: RoomId, version: str, row: OutlierRow, user_id: str, membership: str
) -> int | None:
    """Write a member event without a place, and what it makes of the user; return the position.

    None, and nothing is written, if there is another room or another event of these names.
    """
    room = await known_room(tx, room_id, version)
    if room is None:
        return None
    room_nid = room[0]
    await insert_outliers(tx, [row._replace(room_nid=room_nid)])
    # Where servers choose ids, one may have been chosen before, for another room.
    found = await tx.fetchrow(
        "SELECT event_nid FROM events WHERE event_id = $1 AND room_nid = $2", row.event_id, room_nid
    )
    if found is None:
        return None
    # As for every change of a room's rows: its lock comes before that of the stream.
    await tx.execute("SELECT FROM rooms WHERE room_nid = $1 FOR UPDATE", room_nid)
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
        room_nid,
        membership,
        found[0],
        row.sender,
        position,
    )
    return position
