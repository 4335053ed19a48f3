"""SQL that reads `events`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tricord.homeserver.rooms.stored_event import StoredEvent
from tricord.homeserver.storage.database import Transaction
from tricord.homeserver.stream.tokens import Place
from tricord.protocol.identifiers import EventId, RoomId

_SELECT = """
    SELECT e.event_nid, e.event_id, e.json, r.version, e.position, e.backfill_rank, e.state_after, e.replaces,
        e.redacted_because, e.soft_failed, e.rejected, e.sender_device, e.transaction_id, e.resolved_state,
        e.unjudged AND e.position IS NULL AND NOT e.rejected
    FROM events e JOIN rooms r USING (room_nid)
"""
# What happened in a room: it has a place, and was let in.
_HAPPENED = "e.position IS NOT NULL AND NOT e.rejected AND NOT e.soft_failed"

# A stretch of the history of a room, as `Happened`. The inner query reads just so many rows, in the order of the index;
# what else is asked about events is asked about these.
_SELECT_HISTORY = _SELECT.replace(
    "FROM events e JOIN rooms r USING (room_nid)",
    """,
        EXISTS (SELECT FROM missing_events m WHERE m.named_by = e.event_nid),
        EXISTS (SELECT FROM event_relations c WHERE c.parent_id = e.event_id)
    FROM rooms r CROSS JOIN LATERAL (
        SELECT * FROM events e
        WHERE e.room_nid = r.room_nid AND {happened} AND {between}
        ORDER BY {order} LIMIT $6
    ) e
    WHERE r.room_id = $1 ORDER BY {order}""",
)
_BACKWARDS = _SELECT_HISTORY.format(
    happened=_HAPPENED,
    between="(e.position, e.backfill_rank) <= ($2, $3) AND (e.position, e.backfill_rank) > ($4, $5)",
    order="e.position DESC, e.backfill_rank DESC",
)
_FORWARDS = _SELECT_HISTORY.format(
    happened=_HAPPENED,
    between="(e.position, e.backfill_rank) > ($2, $3) AND (e.position, e.backfill_rank) <= ($4, $5)",
    order="e.position, e.backfill_rank",
)

_AMONG_THE_NEWEST = """
    WHERE e.event_nid IN (
        SELECT newest.event_nid
        FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS wanted (room_id, after, upto) JOIN rooms USING (room_id)
        CROSS JOIN LATERAL (
            SELECT e.event_nid FROM events e
            WHERE e.room_nid = rooms.room_nid AND e.position > wanted.after AND e.position <= wanted.upto
                AND e.backfill_rank = 0 AND NOT e.rejected AND NOT e.soft_failed
            ORDER BY e.position DESC, e.backfill_rank DESC LIMIT $4
        ) newest
    )
    ORDER BY e.position
"""


class Happened(NamedTuple):
    """An event of the history of a room."""

    stored: StoredEvent
    names_missing: bool
    """Whether it names one before it that is not here."""
    has_children: bool
    """Whether anything relates to it."""


async def reserve_event_nids(tx: Transaction) -> range:
    """Take a block of numbers for new events; nobody else gets them."""
    first: int = await tx.fetchval("SELECT nextval('event_nids')")
    return range(first, first + 1000)


async def events_by_nid(tx: Transaction, nids: Sequence[int]) -> dict[int, StoredEvent]:
    """Return those of the events that are here."""
    rows = await tx.fetch(f"{_SELECT} WHERE e.event_nid = ANY($1)", list(nids))
    return {row[0]: StoredEvent.from_row(row) for row in rows}


async def events_by_nid_without_type(tx: Transaction, nids: Sequence[int], event_type: str) -> dict[int, StoredEvent]:
    """Return those of the events that are here and have another type."""
    rows = await tx.fetch(f"{_SELECT} WHERE e.event_nid = ANY($1) AND e.type <> $2", list(nids), event_type)
    return {row[0]: StoredEvent.from_row(row) for row in rows}


async def events_by_id(tx: Transaction, event_ids: Sequence[EventId]) -> dict[EventId, StoredEvent]:
    """Return those of the events that are here, outliers and rejected ones too."""
    rows = await tx.fetch(f"{_SELECT} WHERE e.event_id = ANY($1)", list(event_ids))
    return {row[1]: StoredEvent.from_row(row) for row in rows}


async def newest_events(
    tx: Transaction, rooms: Sequence[tuple[RoomId, int, int]], limit: int
) -> dict[RoomId, list[StoredEvent]]:
    """Return, oldest first, at most `limit` events of each room after one position, up to another: the newest."""
    rows = await tx.fetch(
        _SELECT + _AMONG_THE_NEWEST,
        [room_id for room_id, _, _ in rooms],
        [after for _, after, _ in rooms],
        [upto for _, _, upto in rooms],
        limit,
    )
    found: dict[RoomId, list[StoredEvent]] = {}
    for row in rows:
        stored = StoredEvent.from_row(row)
        found.setdefault(stored.event.room_id, []).append(stored)
    return found


async def events_before(
    tx: Transaction, room_id: RoomId, start: Place, end: Place | None, limit: int
) -> list[Happened]:
    """Return events from one place backwards, newest first, down to another."""
    end = end or Place(-1)
    rows = await tx.fetch(_BACKWARDS, room_id, *start, *end, limit)
    return [Happened(StoredEvent.from_row(row), row[15], row[16]) for row in rows]


async def events_after(tx: Transaction, room_id: RoomId, start: Place, end: Place | None, limit: int) -> list[Happened]:
    """Return events from one place forwards, oldest first, up to another."""
    end = end or Place(2**62)
    rows = await tx.fetch(_FORWARDS, room_id, *start, *end, limit)
    return [Happened(StoredEvent.from_row(row), row[15], row[16]) for row in rows]


async def first_event_since(tx: Transaction, room_id: RoomId, ts: int) -> StoredEvent | None:
    """Return the first event that happened at or after a time, by the senders' clocks."""
    row = await tx.fetchrow(
        f"{_SELECT} WHERE r.room_id = $1 AND e.origin_server_ts >= $2 AND {_HAPPENED} "
        "ORDER BY e.origin_server_ts, e.position, e.backfill_rank LIMIT 1",
        room_id,
        ts,
    )
    return None if row is None else StoredEvent.from_row(row)


async def last_event_until(tx: Transaction, room_id: RoomId, ts: int) -> StoredEvent | None:
    """Return the last event that happened at or before a time, by the senders' clocks."""
    row = await tx.fetchrow(
        f"{_SELECT} WHERE r.room_id = $1 AND e.origin_server_ts <= $2 AND {_HAPPENED} "
        "ORDER BY e.origin_server_ts DESC, e.position DESC, e.backfill_rank DESC LIMIT 1",
        room_id,
        ts,
    )
    return None if row is None else StoredEvent.from_row(row)
