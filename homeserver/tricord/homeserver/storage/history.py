"""SQL of history that is fetched after what came of it: its holes, and what fills them.

History that leads up to an event has that event's position and a rank below 0. It may be here in several parts with
something missing between them; each part has a stretch of ranks to itself, so that what is missing finds its place
later. Part 0 ends at the event itself, and the higher the number of a part, the older it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from tricord.homeserver.storage.database import Transaction
from tricord.homeserver.storage.search import SEARCHED_TYPES
from tricord.homeserver.stream.tokens import Place

# As many events has a part at most; a room of more than that has other worries.
_RANKS_OF_A_PART = 1 << 32
# A new part that is older than all others leaves that many numbers for parts in between.
_NUMBERS_BETWEEN_PARTS = 1 << 12
_MOST_PARTS = 1 << 27


class Part(NamedTuple):
    """A part of the history that leads up to the event at a position."""

    position: int
    number: int = 0

    @classmethod
    def of(cls, place: Place) -> Part:
        """Return the part that a place is in."""
        return cls(place.position, -place.rank // _RANKS_OF_A_PART)


class Redactions(NamedTuple):
    """What redactions in a part of history do to what is elsewhere."""

    waiting: Sequence[tuple[str, int]] = ()
    """What is redacted and not here, and the numbers of the redactions."""
    done: Sequence[tuple[int, bytes, str]] = ()
    """Numbers of what is here, what is left of it, and the ids of the redactions."""


class HistoryRow(NamedTuple):
    """An event of the past, and how far before everything that is known of a part it belongs."""

    room_nid: int
    event_nid: int
    event_id: str
    position: int
    part: int
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


@dataclass(frozen=True, slots=True)
class HistoryBatch:
    """Events of the past of one room, with all that is written along with them."""

    rows: Sequence[HistoryRow]
    nodes: Sequence[tuple[bytes, bytes]]
    missing: Sequence[tuple[str, int]]
    """Events that are not here, and the numbers of those that name them."""
    relations: Sequence[tuple[str, str, int, str, str]]
    """Parent, type, child number, child type and sender."""
    redactions: Redactions


async def new_part(tx: Transaction, room_nid: int, depth: int) -> Part | None:
    """Return a new part for events of about a depth: between the parts there are, where something is missing.

    Depth is what senders say, so it says only where the part is shown. None if there is no place for one.
    """
    hole = await tx.fetchrow(
        """
        SELECT e.position, e.backfill_rank FROM missing_events AS m JOIN events AS e ON e.event_nid = m.named_by
        WHERE e.room_nid = $1 AND e.position IS NOT NULL AND NOT e.soft_failed AND NOT e.rejected
        ORDER BY e.depth > $2 DESC, e.position, e.backfill_rank LIMIT 1
        """,
        room_nid,
        depth,
    )
    if hole is None:
        return None
    newer = Part.of(Place(*hole))
    below = await tx.fetchval(
        "SELECT max(backfill_rank) FROM events WHERE room_nid = $1 AND position = $2 AND backfill_rank <= $3",
        room_nid,
        newer.position,
        -(newer.number + 1) * _RANKS_OF_A_PART,
    )
    if below is None:
        number = newer.number + _NUMBERS_BETWEEN_PARTS
    else:
        number = (newer.number + Part.of(Place(newer.position, below)).number) // 2
    return Part(newer.position, number) if newer.number < number < _MOST_PARTS else None


async def write_history(tx: Transaction, room_nid: int, history: HistoryBatch) -> None:
    """Write events of the past of one room; those that are in their place already stay there."""
    rows = history.rows
    await tx.execute("SELECT 1 FROM rooms WHERE room_nid = $1 FOR UPDATE", room_nid)
    await _put_events(tx, room_nid, rows)
    await tx.execute(
        """
        INSERT INTO state_nodes (node_id, node) SELECT * FROM unnest($1::bytea[], $2::bytea[]) ON CONFLICT DO NOTHING
        """,
        *_columns(history.nodes, 2),
    )
    await _link(tx, rows)
    await _redact(tx, rows, history.redactions)
    await tx.execute(
        """
        INSERT INTO missing_events (event_id, named_by) SELECT * FROM unnest($1::text[], $2::bigint[])
        ON CONFLICT DO NOTHING
        """,
        *_columns(history.missing, 2),
    )
    await _put_relations(tx, room_nid, history.relations)
    await tx.execute(
        "INSERT INTO search_queue (event_nid) SELECT * FROM unnest($1::bigint[]) ON CONFLICT DO NOTHING",
        [row.event_nid for row in rows if row.type in SEARCHED_TYPES],
    )


async def _put_events(tx: Transaction, room_nid: int, rows: Sequence[HistoryRow]) -> None:
    await tx.execute(
        """
        INSERT INTO events AS e (
            room_nid, event_nid, event_id, position, backfill_rank, depth, type, state_key, sender, origin_server_ts,
            state_after, replaces, redacted_because, prev_nids, auth_nids, json
        )
        SELECT room_nid, event_nid, event_id, position, coalesce(lowest, 1 - part * $19) - before, depth, type,
            state_key, sender, origin_server_ts, state_after, replaces, redacted_because, prev_nids::bigint[],
            auth_nids::bigint[], json
        FROM unnest(
            $1::bigint[], $2::bigint[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::text[],
            $9::text[], $10::text[], $11::bigint[], $12::bytea[], $13::text[], $14::text[], $15::text[], $16::text[],
            $17::bytea[]
        ) AS t (
            room_nid, event_nid, event_id, position, part, before, depth, type, state_key, sender, origin_server_ts,
            state_after, replaces, redacted_because, prev_nids, auth_nids, json
        )
        LEFT JOIN (
            SELECT position, -backfill_rank / $19::bigint AS part, min(backfill_rank) AS lowest FROM events
            WHERE room_nid = $18 AND position = ANY($4::bigint[]) GROUP BY 1, 2
        ) AS there USING (position, part)
        ON CONFLICT (event_nid) DO UPDATE SET
            position = excluded.position, backfill_rank = excluded.backfill_rank, state_after = excluded.state_after,
            replaces = excluded.replaces, redacted_because = excluded.redacted_because,
            prev_nids = excluded.prev_nids, auth_nids = excluded.auth_nids, json = excluded.json
        WHERE e.position IS NULL AND NOT e.rejected AND NOT e.soft_failed
        """,
        *_columns(rows, len(HistoryRow.__annotations__)),
        room_nid,
        _RANKS_OF_A_PART,
    )


async def _link(tx: Transaction, rows: Sequence[HistoryRow]) -> None:
    """Let the events that named these, before they were here, be followed by them."""
    await tx.execute(
        """
        UPDATE events AS e SET prev_nids = e.prev_nids || f.nids
        FROM (
            SELECT m.named_by, array_agg(t.nid) AS nids
            FROM unnest($1::text[], $2::bigint[]) AS t (event_id, nid) JOIN missing_events m USING (event_id)
            GROUP BY m.named_by
        ) AS f
        WHERE e.event_nid = f.named_by AND NOT e.prev_nids @> f.nids
        """,
        [row.event_id for row in rows],
        [row.event_nid for row in rows],
    )
    await tx.execute("DELETE FROM missing_events WHERE event_id = ANY($1)", [row.event_id for row in rows])


async def _put_relations(tx: Transaction, room_nid: int, relations: Sequence[tuple[str, str, int, str, str]]) -> None:
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


async def _redact(tx: Transaction, rows: Sequence[HistoryRow], redactions: Redactions) -> None:
    """Redact what these events redact, and note which of the redactions wait for an event that is not here."""
    await tx.execute("DELETE FROM waiting_redactions WHERE event_id = ANY($1)", [row.event_id for row in rows])
    await tx.execute(
        "INSERT INTO waiting_redactions (event_id, redaction_nid) SELECT * FROM unnest($1::text[], $2::bigint[]) "
        "ON CONFLICT DO NOTHING",
        *_columns(redactions.waiting, 2),
    )
    if not redactions.done:
        return
    await tx.execute(
        """
        UPDATE events AS e SET json = t.json, redacted_because = t.because
        FROM unnest($1::bigint[], $2::bytea[], $3::text[]) AS t (event_nid, json, because)
        WHERE e.event_nid = t.event_nid AND e.redacted_because IS NULL
        """,
        *_columns(redactions.done, 3),
    )
    await tx.execute(
        "INSERT INTO search_queue (event_nid) SELECT * FROM unnest($1::bigint[]) ON CONFLICT DO NOTHING",
        [nid for nid, _, _ in redactions.done],
    )


def _columns(rows: Sequence[tuple[Any, ...]], width: int) -> list[list[Any]]:
    """Turn rows into an array for each column."""
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]
