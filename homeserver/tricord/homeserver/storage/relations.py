"""SQL of `event_relations`: what relates to what."""

from __future__ import annotations

from tricord.homeserver.storage.database import Transaction
from tricord.homeserver.stream.tokens import Place
from tricord.protocol.identifiers import EventId

_RELATED = """
    WITH RECURSIVE related (room_nid, event_id, position, backfill_rank, depth) AS (
        SELECT child.room_nid, child.event_id, child.position, child.backfill_rank, 1
        FROM event_relations AS relation
        JOIN events AS parent ON parent.event_id = relation.parent_id AND parent.room_nid = relation.room_nid
        JOIN events AS child ON child.event_nid = relation.child_nid
        WHERE relation.parent_id = $1 AND ($2::text IS NULL OR rel_type = $2) AND ($3::text IS NULL OR child_type = $3)
          AND child.redacted_because IS NULL
      UNION
        SELECT child.room_nid, child.event_id, child.position, child.backfill_rank, related.depth + 1
        FROM related
        JOIN event_relations AS relation
          ON relation.parent_id = related.event_id AND relation.room_nid = related.room_nid
        JOIN events AS child ON child.event_nid = relation.child_nid
        WHERE related.depth < $4 AND ($2::text IS NULL OR rel_type = $2) AND ($3::text IS NULL OR child_type = $3)
          AND child.redacted_because IS NULL
    )
    SELECT DISTINCT event_id, position, backfill_rank FROM related
"""

# The gap that a place stands for is right after it: reading forward begins beyond it, backward at it.
_FORWARD = (
    _RELATED
    + "WHERE (position, backfill_rank) > ($5, $6) AND (position, backfill_rank) <= ($7, $8)"
    + " ORDER BY position, backfill_rank LIMIT $9"
)
_BACKWARD = (
    _RELATED
    + "WHERE (position, backfill_rank) <= ($5, $6) AND (position, backfill_rank) > ($7, $8)"
    + " ORDER BY position DESC, backfill_rank DESC LIMIT $9"
)


async def related_events(
    tx: Transaction,
    parent_id: EventId,
    rel_type: str | None,
    event_type: str | None,
    *,
    start: Place,
    end: Place,
    backward: bool,
    depth: int,
    limit: int,
) -> list[EventId]:
    """Return events that relate to one, through at most `depth` relations, in the order of reading.

    What was redacted relates to nothing any more.
    """
    rows = await tx.fetch(
        _BACKWARD if backward else _FORWARD, parent_id, rel_type, event_type, depth, *start, *end, limit
    )
    return [row["event_id"] for row in rows]
