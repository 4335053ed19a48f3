"""SQL of history that is fetched after what came of it: its holes, and what fills them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from tricord.homeserver.storage.database import Transaction


class HistoryRow(NamedTuple):
    """An event of the past, and how far before everything that is known at a position it belongs."""

    room_nid: int
    event_nid: int
    event_id: str
    position: int
    before: int
    depth: int
    type: str
    state_key: str | None
    sender: str
    origin_server_ts: int
    state_after: bytes
    replaces: str | None
    redacted_because: str | None
    prev_nids: str  # an array literal: arrays of arrays cannot be unnested
    auth_nids: str
    json: bytes


async def holes_before(tx: Transaction, nids: Collection[int]) -> list[int]:
    """Return those of the events that name an event before them which is not here."""
    rows = await tx.fetch("SELECT DISTINCT named_by FROM missing_events WHERE named_by = ANY($1)", list(nids))
    return [row[0] for row in rows]


async def write_history(
    tx: Transaction,
    room_nid: int,
    rows: Sequence[HistoryRow],
    nodes: Sequence[tuple[bytes, bytes]],
    missing: Sequence[tuple[str, int]],
    relations: Sequence[tuple[str, str, int, str, str]],
) -> None:
    """Write events of the past of one room; those that are in their place already stay there.

    `missing` are events that are not here and the numbers of those that name them; `relations` parent, type, child
    number, child type and sender.
    """
    await tx.execute("SELECT 1 FROM rooms WHERE room_nid = $1 FOR UPDATE", room_nid)
    await tx.execute(
        """
        INSERT INTO events AS e (
            room_nid, event_nid, event_id, position, backfill_rank, depth, type, state_key, sender, origin_server_ts,
            state_after, replaces, redacted_because, prev_nids, auth_nids, json
        )
        SELECT room_nid, event_nid, event_id, position, lowest - before, depth, type, state_key, sender,
            origin_server_ts, state_after, replaces, redacted_because, prev_nids::bigint[], auth_nids::bigint[], json
        FROM unnest(
            $1::bigint[], $2::bigint[], $3::text[], $4::bigint[], $5::integer[], $6::bigint[], $7::text[], $8::text[],
            $9::text[], $10::bigint[], $11::bytea[], $12::text[], $13::text[], $14::text[], $15::text[], $16::bytea[]
        ) AS t (
            room_nid, event_nid, event_id, position, before, depth, type, state_key, sender, origin_server_ts,
            state_after, replaces, redacted_because, prev_nids, auth_nids, json
        )
        JOIN (
            SELECT position, min(backfill_rank) AS lowest FROM events
            WHERE room_nid = $17 AND position = ANY($4::bigint[]) GROUP BY position
        ) AS there USING (position)
        ON CONFLICT (event_nid) DO UPDATE SET
            position = excluded.position, backfill_rank = excluded.backfill_rank, state_after = excluded.state_after,
            replaces = excluded.replaces, redacted_because = excluded.redacted_because,
            prev_nids = excluded.prev_nids, auth_nids = excluded.auth_nids, json = excluded.json
        WHERE e.position IS NULL AND NOT e.rejected AND NOT e.soft_failed
        """,
        *_columns(rows, len(HistoryRow.__annotations__)),
        room_nid,
    )
    await tx.execute(
        """
        INSERT INTO state_nodes (node_id, node) SELECT * FROM unnest($1::bytea[], $2::bytea[]) ON CONFLICT DO NOTHING
        """,
        *_columns(nodes, 2),
    )
    await tx.execute("DELETE FROM missing_events WHERE event_id = ANY($1)", [row.event_id for row in rows])
    await tx.execute(
        """
        INSERT INTO missing_events (event_id, named_by) SELECT * FROM unnest($1::text[], $2::bigint[])
        ON CONFLICT DO NOTHING
        """,
        *_columns(missing, 2),
    )
    await tx.execute(
        """
        INSERT INTO event_relations (parent_id, rel_type, child_nid, child_type, sender, room_nid)
        SELECT t.*, $6 FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[]) AS t
        ON CONFLICT DO NOTHING
        """,
        *_columns(relations, 5),
        room_nid,
    )
    await tx.execute(
        """
        INSERT INTO threads AS t (room_nid, root_id, latest)
        SELECT e.room_nid, r.parent_id, max(e.position)
        FROM event_relations r JOIN events e ON e.event_nid = r.child_nid
        WHERE r.child_nid = ANY($1) AND r.rel_type = 'm.thread' AND e.position IS NOT NULL
        GROUP BY e.room_nid, r.parent_id
        ON CONFLICT (room_nid, root_id) DO UPDATE SET latest = greatest(t.latest, excluded.latest)
        """,
        [child_nid for _, rel_type, child_nid, _, _ in relations if rel_type == "m.thread"],
    )


def _columns(rows: Sequence[tuple[Any, ...]], width: int) -> list[list[Any]]:
    """Turn rows into an array for each column."""
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]
