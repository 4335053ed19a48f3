"""SQL that adds events which have no place in their room: those that vouch for others, and foreign state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tricord.homeserver.storage.database import Transaction
from tricord.protocol.identifiers import EventId, RoomId


class OutlierRow(NamedTuple):
    """An event without a place."""

    room_nid: int
    event_nid: int
    event_id: str
    depth: int
    type: str
    state_key: str | None
    sender: str
    origin_server_ts: int
    rejected: bool
    auth_nids: str  # an array literal: arrays of arrays cannot be unnested
    json: bytes
    unjudged: bool = False


async def insert_outliers(tx: Transaction, rows: Sequence[OutlierRow]) -> None:
    """Add events; those that are here already stay as they are, but for a judgement on those that had none."""
    await tx.execute(
        """
        INSERT INTO events AS e (
            room_nid, event_nid, event_id, depth, type, state_key, sender, origin_server_ts, rejected, auth_nids, json,
            unjudged, state_after, prev_nids
        )
        SELECT room_nid, event_nid, event_id, depth, type, state_key, sender, origin_server_ts, rejected,
            auth_nids::bigint[], json, unjudged, '', '{}'
        FROM unnest(
            $1::bigint[], $2::bigint[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::bigint[],
            $9::boolean[], $10::text[], $11::bytea[],
            $12::boolean[]
        ) AS t (
            room_nid, event_nid, event_id, depth, type, state_key, sender, origin_server_ts, rejected, auth_nids, json,
            unjudged
        )
        ON CONFLICT (event_id) DO UPDATE SET
            rejected = excluded.rejected, auth_nids = excluded.auth_nids, unjudged = false
        WHERE e.unjudged AND NOT excluded.unjudged AND e.event_nid = excluded.event_nid
        """,
        *(list(column) for column in zip(*rows, strict=True)),
    )


async def accepted_state(tx: Transaction, room_id: RoomId, event_ids: Sequence[EventId]) -> dict[tuple[str, str], int]:
    """Return what those of some events set that are here, of a room, and were let in: numbers by type and state key."""
    rows = await tx.fetch(
        """
        SELECT e.type, e.state_key, e.event_nid FROM events e JOIN rooms r USING (room_nid)
        WHERE e.event_id = ANY($2) AND r.room_id = $1 AND e.state_key IS NOT NULL AND NOT e.rejected
            AND (NOT e.unjudged OR e.position IS NOT NULL)
        """,
        room_id,
        list(event_ids),
    )
    return {(row[0], row[1]): row[2] for row in rows}
