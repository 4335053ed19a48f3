"""The table of receipts: up to where users have read.

`thread_id` is '' for a receipt of the whole room.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tricord.homeserver.storage.database import Transaction
from tricord.protocol.identifiers import EventId, RoomId, UserId

UNTHREADED = ""


@dataclass(frozen=True, slots=True)
class Receipt:
    """Somebody has read a room, or a thread of it, up to an event."""

    room_id: RoomId
    user_id: UserId
    receipt_type: str
    thread_id: str
    event_id: EventId
    event_position: int | None
    received_ts: int
    position: int

    @property
    def key(self) -> tuple[RoomId, UserId, str, str]:
        """What there is only one receipt of."""
        return self.room_id, self.user_id, self.receipt_type, self.thread_id


_COLUMNS = "room_id, user_id, receipt_type, thread_id, event_id, event_position, received_ts, position"


async def move_receipts(tx: Transaction, receipts: Sequence[Receipt]) -> list[Receipt]:
    """Put receipts at events and return those that moved: never backwards, and never for nothing.

    No two may be for the same (room, user, type, thread). They are without a place in the stream until
    `place_receipts` gives them one in the same transaction: positions are taken last, and only for what has changed.
    """
    moved = await tx.fetch(
        """
        INSERT INTO receipts AS old
            (room_id, user_id, receipt_type, thread_id, event_id, event_position, received_ts, position)
        SELECT *, 0 FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::bigint[])
        -- In one order everywhere, so that two who move the same do not wait for each other in a circle.
        ORDER BY 1, 2, 3, 4
        ON CONFLICT (room_id, user_id, receipt_type, thread_id) DO UPDATE
        SET event_id = excluded.event_id, event_position = excluded.event_position,
            received_ts = excluded.received_ts
        WHERE old.event_id <> excluded.event_id
          AND (old.event_position IS NULL OR excluded.event_position IS NULL
               OR old.event_position <= excluded.event_position)
        RETURNING room_id, user_id, receipt_type, thread_id
        """,
        [receipt.room_id for receipt in receipts],
        [receipt.user_id for receipt in receipts],
        [receipt.receipt_type for receipt in receipts],
        [receipt.thread_id for receipt in receipts],
        [receipt.event_id for receipt in receipts],
        [receipt.event_position for receipt in receipts],
        [receipt.received_ts for receipt in receipts],
    )
    keys = {tuple(row) for row in moved}
    return [receipt for receipt in receipts if receipt.key in keys]


async def place_receipts(tx: Transaction, receipts: Sequence[Receipt], position: int) -> None:
    """Give moved receipts their place in the stream."""
    await tx.execute(
        """
        UPDATE receipts SET position = $5
        FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS moved (room, who, kind, thread)
        WHERE room_id = room AND user_id = who AND receipt_type = kind AND thread_id = thread
        """,
        [receipt.room_id for receipt in receipts],
        [receipt.user_id for receipt in receipts],
        [receipt.receipt_type for receipt in receipts],
        [receipt.thread_id for receipt in receipts],
        position,
    )


async def receipts_between(tx: Transaction, room_ids: Sequence[RoomId], after: int, upto: int) -> list[Receipt]:
    """Return what moved in some rooms after one position, up to another, in order."""
    rows = await tx.fetch(
        f"""
        SELECT {_COLUMNS} FROM receipts
        WHERE room_id = ANY($1) AND position > $2 AND position <= $3
        ORDER BY position
        """,  # noqa: S608 - a constant
        list(room_ids),
        after,
        upto,
    )
    return [Receipt(*row) for row in rows]


async def newest_receipts(tx: Transaction, upto: Mapping[RoomId, int], limit: int) -> list[Receipt]:
    """Return what moved last in each of some rooms, up to a position of its own, the newest first."""
    rows = await tx.fetch(
        f"""
        SELECT r.* FROM unnest($1::text[], $2::bigint[]) AS wanted (room, upto) CROSS JOIN LATERAL (
            SELECT {_COLUMNS} FROM receipts
            WHERE room_id = wanted.room AND position <= wanted.upto ORDER BY position DESC LIMIT $3
        ) r
        """,  # noqa: S608 - a constant
        list(upto),
        list(upto.values()),
        limit,
    )
    return [Receipt(*row) for row in rows]


async def receipts_of_user(tx: Transaction, user_id: UserId, room_ids: Sequence[RoomId]) -> list[Receipt]:
    """Return where one user has read up to in some rooms, in every thread."""
    rows = await tx.fetch(
        f"SELECT {_COLUMNS} FROM receipts WHERE user_id = $1 AND room_id = ANY($2)",  # noqa: S608 - a constant
        user_id,
        list(room_ids),
    )
    return [Receipt(*row) for row in rows]


async def receipts_on_events(
    tx: Transaction, user_id: UserId, room_ids: Sequence[RoomId], event_ids: Sequence[EventId]
) -> dict[RoomId, list[Receipt]]:
    """Return the receipts at some events, and all those of one user, in some rooms."""
    rows = await tx.fetch(
        f"""
        SELECT {_COLUMNS} FROM receipts
        WHERE room_id = ANY($1) AND (event_id = ANY($2) OR user_id = $3) ORDER BY position
        """,  # noqa: S608 - a constant
        list(room_ids),
        list(event_ids),
        user_id,
    )
    found: dict[RoomId, list[Receipt]] = {}
    for row in rows:
        found.setdefault(row["room_id"], []).append(Receipt(*row))
    return found
