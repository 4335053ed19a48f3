"""SQL of `room_memberships`, and of how many there are in a room, which triggers keep.

`write_events` writes them, but for what users forget. Whoever does holds the locks of their rooms, taken in the order
of `room_nid`: nobody waits in a circle for the counts, in whatever order the triggers come to them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from tricord.homeserver.storage.database import Transaction
from tricord.homeserver.storage.stream import take_positions
from tricord.protocol.identifiers import EventId, RoomId, ServerName, UserId

_SELECT = """
    SELECT r.room_id, m.user_id, m.membership, e.event_id, m.sender, m.position, m.since, m.forgotten
    FROM room_memberships m JOIN rooms r USING (room_nid) JOIN events e USING (event_nid)
"""


@dataclass(frozen=True, slots=True)
class Membership:
    """What a user is to a room, by the last member event."""

    room_id: RoomId
    user_id: UserId
    membership: str
    event_id: EventId
    sender: UserId
    position: int
    """Of the member event."""
    since: int
    """Of the member event that first said so: a new display name changes `position` only."""
    forgotten: bool


async def joined_rooms_of(tx: Transaction, user_ids: Collection[UserId]) -> list[tuple[UserId, RoomId]]:
    """Return the rooms that each of some users is in."""
    rows = await tx.fetch(
        "SELECT m.user_id, r.room_id FROM room_memberships m JOIN rooms r USING (room_nid) "
        "WHERE m.user_id = ANY($1) AND m.membership = 'join'",
        list(user_ids),
    )
    return [(row[0], row[1]) for row in rows]


async def joined_members_of(tx: Transaction, room_ids: Collection[RoomId]) -> list[tuple[RoomId, UserId]]:
    """Return the users who are in each of some rooms."""
    rows = await tx.fetch(
        "SELECT r.room_id, m.user_id FROM room_memberships m JOIN rooms r USING (room_nid) "
        "WHERE r.room_id = ANY($1) AND m.membership = 'join'",
        list(room_ids),
    )
    return [(row[0], row[1]) for row in rows]


async def memberships_in(tx: Transaction, user_id: UserId, room_ids: Collection[RoomId]) -> list[Membership]:
    """Return what a user is to some rooms, forgotten ones too."""
    rows = await tx.fetch(f"{_SELECT} WHERE m.user_id = $1 AND r.room_id = ANY($2)", user_id, list(room_ids))
    return [Membership(*row) for row in rows]


async def rooms_with_people_of(
    tx: Transaction, server_name: ServerName, room_ids: Collection[RoomId], memberships: Collection[str]
) -> list[RoomId]:
    """Return those of the rooms to which somebody of a server is one of some things."""
    rows = await tx.fetch(
        """
        SELECT r.room_id FROM rooms r
        WHERE r.room_id = ANY($1) AND EXISTS (
            SELECT FROM room_memberships m
            WHERE m.room_nid = r.room_nid AND m.membership = ANY($2) AND right(m.user_id, $4) = $3
        )
        """,
        list(room_ids),
        list(memberships),
        f":{server_name}",
        len(server_name) + 1,
    )
    return [row[0] for row in rows]


async def memberships_of_user(tx: Transaction, user_id: UserId) -> list[Membership]:
    """Return all that a user has not forgotten."""
    rows = await tx.fetch(f"{_SELECT} WHERE m.user_id = $1 AND NOT m.forgotten", user_id)
    return [Membership(*row) for row in rows]


async def memberships_elsewhere(tx: Transaction, user_id: UserId) -> list[Membership]:
    """Return the rooms that a user is not in, but asked into, knocking on, or was put out of."""
    rows = await tx.fetch(
        f"{_SELECT} WHERE m.user_id = $1 AND NOT m.forgotten AND m.membership <> 'join' "
        "AND NOT (m.membership = 'leave' AND m.sender = m.user_id)",
        user_id,
    )
    return [Membership(*row) for row in rows]


async def memberships_in_room(tx: Transaction, room_id: RoomId, memberships: Sequence[str]) -> list[Membership]:
    """Return who is something to a room, oldest first."""
    rows = await tx.fetch(
        f"{_SELECT} WHERE r.room_id = $1 AND m.membership = ANY($2) ORDER BY m.since", room_id, list(memberships)
    )
    return [Membership(*row) for row in rows]


async def first_members(
    tx: Transaction, room_ids: Collection[RoomId], memberships: Sequence[str], limit: int
) -> list[tuple[RoomId, UserId]]:
    """Return some users who are something to each of the rooms, those of longest standing first."""
    rows = await tx.fetch(
        """
        SELECT r.room_id, m.user_id
        FROM rooms r CROSS JOIN LATERAL (
            SELECT user_id, since FROM room_memberships
            WHERE room_nid = r.room_nid AND membership = ANY($2)
            ORDER BY since, user_id LIMIT $3
        ) m
        WHERE r.room_id = ANY($1) ORDER BY m.since, m.user_id
        """,
        list(room_ids),
        list(memberships),
        limit,
    )
    return [(row[0], row[1]) for row in rows]


async def memberships_changed(tx: Transaction, user_id: UserId, *, after: int, upto: int) -> list[Membership]:
    """Return what changed for a user between two positions, in order."""
    rows = await tx.fetch(
        f"{_SELECT} WHERE m.user_id = $1 AND m.position > $2 AND m.position <= $3 ORDER BY m.position",
        user_id,
        after,
        upto,
    )
    return [Membership(*row) for row in rows]


async def member_counts(tx: Transaction, room_ids: Collection[RoomId]) -> list[tuple[RoomId, int, int]]:
    """Return how many are joined to each room, and how many invited."""
    rows = await tx.fetch(
        """
        SELECT r.room_id, c.joined, c.invited FROM rooms r JOIN member_counts c USING (room_nid)
        WHERE r.room_id = ANY($1) AND (c.joined > 0 OR c.invited > 0)
        """,
        list(room_ids),
    )
    return [(row[0], row[1], row[2]) for row in rows]


async def forget_room(tx: Transaction, user_id: UserId, room_id: RoomId) -> tuple[bool, int | None]:
    """Let a user forget a room they have left; return whether it is forgotten now, and the position if that is new."""
    # As for every change of a room's rows: its lock comes first.
    room_nid = await tx.fetchval("SELECT room_nid FROM rooms WHERE room_id = $1 FOR UPDATE", room_id)
    row = await tx.fetchrow(
        "SELECT membership, forgotten FROM room_memberships WHERE user_id = $1 AND room_nid = $2", user_id, room_nid
    )
    if row is None or row["forgotten"]:
        return True, None
    if row["membership"] not in ("leave", "ban"):
        return False, None
    await tx.execute(
        "UPDATE room_memberships SET forgotten = true WHERE user_id = $1 AND room_nid = $2", user_id, room_nid
    )
    return True, await take_positions(tx, 1)
