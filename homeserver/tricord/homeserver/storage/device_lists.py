"""The table of when the devices of users changed for others, and who those others are."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from tricord.homeserver.storage.database import Transaction
from tricord.homeserver.storage.device_list_edus import tell_of_devices, tell_of_identity
from tricord.homeserver.storage.stream import take_positions
from tricord.protocol.identifiers import DeviceId, EventId, RoomId, UserId


async def put_device_list_changes(
    tx: Transaction, user_id: UserId, *, devices: Collection[DeviceId] = (), has_new_identity: bool = False
) -> int:
    """Note that devices of a local user have changed, or are gone, or that their cross-signing keys have changed.

    Other servers are told of it. Returns the position; the last act of a transaction.
    """
    position = await put_list_changes(tx, [user_id])
    if devices:
        # Nobody else changes it: the stream is locked by now.
        previous = await tx.fetchval("SELECT stream_id FROM device_list_changes WHERE user_id = $1", user_id)
        await tx.execute("UPDATE device_list_changes SET stream_id = $2 WHERE user_id = $1", user_id, position)
        await tell_of_devices(tx, user_id, devices, position, previous)
    if has_new_identity:
        await tell_of_identity(tx, user_id)
    return position


async def stream_id_of(tx: Transaction, user_id: UserId) -> int:
    """Return the last change of a local user's devices that other servers were told of; 0 if there was none."""
    stream_id = await tx.fetchval("SELECT stream_id FROM device_list_changes WHERE user_id = $1", user_id)
    return stream_id or 0


async def put_list_changes(tx: Transaction, user_ids: Collection[UserId]) -> int:
    """Note that the devices of some users have changed, and return the position; the last act of a transaction."""
    position = await take_positions(tx, 1)
    await tx.execute(
        """
        INSERT INTO device_list_changes (user_id, position) SELECT user_id, $2 FROM unnest($1::text[]) AS t (user_id)
        ON CONFLICT (user_id) DO UPDATE SET position = excluded.position
        """,
        list(user_ids),
        position,
    )
    return position


@dataclass(frozen=True, slots=True)
class Departure:
    """That a user is no longer in a room, or invited to it."""

    room_id: RoomId
    event_id: EventId
    position: int


async def changed_lists(tx: Transaction, user_id: UserId, after: int, upto: int) -> list[UserId]:
    """Return whose devices changed, of a user and those who share a room with them; and whom they have signed."""
    rows = await tx.fetch(
        """
        SELECT user_id FROM device_list_changes c
        WHERE position > $2 AND position <= $3 AND (user_id = $1 OR EXISTS (
            SELECT FROM room_memberships o JOIN room_memberships mine USING (room_nid)
            WHERE o.user_id = c.user_id AND o.membership = 'join'
                AND mine.user_id = $1 AND mine.membership = 'join'
        ))
        UNION SELECT user_id FROM key_signatures WHERE signer = $1 AND position > $2 AND position <= $3
        ORDER BY user_id
        """,
        user_id,
        after,
        upto,
    )
    return [row[0] for row in rows]


async def newly_shared_with(tx: Transaction, user_id: UserId, after: int, upto: int) -> list[UserId]:
    """Return who is in a room together with a user since a position, and was in none of those before."""
    rows = await tx.fetch(
        """
        WITH mine AS (
            SELECT room_nid, since FROM room_memberships WHERE user_id = $1 AND membership = 'join' AND since <= $3
        ), met AS (
            SELECT o.user_id FROM mine JOIN room_memberships o USING (room_nid)
            WHERE mine.since > $2 AND o.membership = 'join' AND o.since <= $3
            UNION
            SELECT o.user_id FROM mine JOIN room_memberships o USING (room_nid)
            WHERE mine.since <= $2 AND o.membership = 'join' AND o.since > $2 AND o.since <= $3
        )
        SELECT user_id FROM met WHERE user_id <> $1 AND NOT EXISTS (
            SELECT FROM mine JOIN room_memberships o USING (room_nid)
            WHERE o.user_id = met.user_id AND o.membership = 'join' AND o.since <= $2 AND mine.since <= $2
        ) ORDER BY user_id
        """,
        user_id,
        after,
        upto,
    )
    return [row[0] for row in rows]


async def departures(tx: Transaction, user_id: UserId, after: int, upto: int) -> list[Departure]:
    """Return where a user is no longer, be it that they were in the room or only invited."""
    rows = await tx.fetch(
        """
        SELECT r.room_id, e.event_id, m.since
        FROM room_memberships m JOIN rooms r USING (room_nid) JOIN events e USING (event_nid)
        WHERE m.user_id = $1 AND m.membership IN ('leave', 'ban') AND m.since > $2 AND m.since <= $3
        """,
        user_id,
        after,
        upto,
    )
    return [Departure(*row) for row in rows]


async def no_longer_shared_with(
    tx: Transaction, user_id: UserId, left: Collection[Departure], after: int, upto: int
) -> list[UserId]:
    """Return with whom a user was in a room after a position, and is in none any more; `left` are rooms they left."""
    rows = await tx.fetch(
        """
        WITH mine AS (
            SELECT room_nid, since FROM room_memberships WHERE user_id = $1 AND membership = 'join'
        ), parted AS (
            SELECT o.user_id FROM mine JOIN room_memberships o USING (room_nid)
            WHERE o.membership IN ('leave', 'ban') AND o.since > greatest($2, mine.since) AND o.since <= $3
            UNION
            SELECT o.user_id FROM unnest($4::text[], $5::bigint[]) AS gone (room_id, position)
                JOIN rooms r USING (room_id) JOIN room_memberships o ON o.room_nid = r.room_nid
            WHERE (o.membership = 'join' AND o.since < gone.position)
                OR (o.membership IN ('leave', 'ban') AND o.since > $2 AND o.since <= $3)
        )
        SELECT user_id FROM parted WHERE user_id <> $1 AND NOT EXISTS (
            SELECT FROM mine JOIN room_memberships o USING (room_nid)
            WHERE o.user_id = parted.user_id AND o.membership = 'join'
        ) ORDER BY user_id
        """,
        user_id,
        after,
        upto,
        [one.room_id for one in left],
        [one.position for one in left],
    )
    return [row[0] for row in rows]
