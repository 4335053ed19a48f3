"""SQL of what is told about the children of events, for many parents at once."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from tricord.homeserver.storage.database import Transaction
from tricord.protocol.identifiers import EventId, RoomId, UserId


@dataclass(frozen=True, slots=True)
class ThreadRow:
    """What is in a thread."""

    root_id: EventId
    count: int
    participated: bool
    newest: list[EventId]
    """Its last few events, the newest first."""


@dataclass(frozen=True, slots=True)
class UpdatedThread:
    """A thread in which something is new."""

    room_id: RoomId
    root_id: EventId
    latest: int
    """The position of its newest event."""


@dataclass(frozen=True, slots=True)
class ThreadNews:
    """What is new in a thread."""

    count: int
    newest: list[EventId]
    """The last few events, the newest first."""


async def kinds_of_children(tx: Transaction, parent_ids: Collection[EventId]) -> dict[EventId, set[str]]:
    """Return in which ways anything relates to some events; those to which nothing does are absent."""
    rows = await tx.fetch(
        "SELECT DISTINCT parent_id, rel_type FROM event_relations WHERE parent_id = ANY($1)", list(parent_ids)
    )
    kinds: dict[EventId, set[str]] = {}
    for parent_id, rel_type in rows:
        kinds.setdefault(parent_id, set()).add(rel_type)
    return kinds


async def newest_replacements(
    tx: Transaction, parents: Sequence[tuple[EventId, UserId, str]], most: int
) -> dict[EventId, list[EventId]]:
    """Return the last few replacements of events by their senders, and of their types, the newest first.

    https://spec.matrix.org/v1.19/client-server-api/#server-side-aggregation-of-mreplace-relationships
    """
    rows = await tx.fetch(
        """
        SELECT parent.event_id, replacement.event_id
        FROM unnest($1::text[], $2::text[], $3::text[]) AS wanted (event_id, sender, type)
        JOIN events AS parent ON parent.event_id = wanted.event_id
        CROSS JOIN LATERAL (
            SELECT child.event_id, child.origin_server_ts FROM children AS child
            WHERE child.parent_id = wanted.event_id AND child.rel_type = 'm.replace'
                AND child.sender = wanted.sender AND child.child_type = wanted.type
                AND child.room_nid = parent.room_nid AND NOT child.is_state
            ORDER BY child.origin_server_ts DESC, child.event_id COLLATE "C" DESC LIMIT $4
        ) AS replacement
        ORDER BY replacement.origin_server_ts DESC, replacement.event_id COLLATE "C" DESC
        """,
        *_columns(parents),
        most,
    )
    found: dict[EventId, list[EventId]] = {}
    for parent_id, child_id in rows:
        found.setdefault(parent_id, []).append(child_id)
    return found


async def references_to(tx: Transaction, parent_ids: Collection[EventId], most: int) -> list[tuple[EventId, EventId]]:
    """Return pairs of parents and what refers to them, the oldest first, of each parent at most so much."""
    rows = await tx.fetch(
        """
        SELECT parent.event_id, reference.event_id
        FROM events AS parent CROSS JOIN LATERAL (
            SELECT child.event_id, child.position, child.backfill_rank FROM children AS child
            WHERE child.parent_id = parent.event_id AND child.rel_type = 'm.reference'
                AND child.room_nid = parent.room_nid
            ORDER BY child.position, child.backfill_rank LIMIT $2
        ) AS reference
        WHERE parent.event_id = ANY($1)
        ORDER BY reference.position, reference.backfill_rank
        """,
        list(parent_ids),
        most,
    )
    return [(row[0], row[1]) for row in rows]


async def threads_of(
    tx: Transaction, root_ids: Collection[EventId], reader: UserId, ignored: Collection[UserId], most: int
) -> list[ThreadRow]:
    """Return what is in the threads of some events, without what ignored people said; empty threads are absent."""
    rows = await tx.fetch(
        """
        SELECT root.event_id, count(*), root.sender = $2 OR bool_or(child.sender = $2),
            (array_agg(child.event_id ORDER BY child.position DESC, child.backfill_rank DESC))[:$4]
        FROM events AS root
        JOIN children AS child
            ON child.parent_id = root.event_id AND child.room_nid = root.room_nid AND child.rel_type = 'm.thread'
        WHERE root.event_id = ANY($1) AND child.sender <> ALL($3)
        GROUP BY root.event_id, root.sender
        """,
        list(root_ids),
        reader,
        list(ignored),
        most,
    )
    return [ThreadRow(*row) for row in rows]


async def thread_roots(
    tx: Transaction,
    room_id: RoomId,
    reader: UserId,
    before: tuple[int, EventId] | None,
    limit: int,
    *,
    participated: bool,
) -> list[tuple[EventId, int]]:
    """Return the roots of a room's threads and where their newest events stand, the newest first."""
    rows = await tx.fetch(
        """
        SELECT t.root_id, t.latest FROM threads t
        WHERE t.room_nid = (SELECT room_nid FROM rooms WHERE room_id = $1)
            AND ($2::bigint IS NULL OR (t.latest, t.root_id) < ($2, $3))
            AND (NOT $4 OR EXISTS (SELECT FROM events e WHERE e.event_id = t.root_id AND e.sender = $5) OR EXISTS (
                SELECT FROM event_relations r
                WHERE r.parent_id = t.root_id AND r.sender = $5 AND r.rel_type = 'm.thread' AND r.room_nid = t.room_nid
            ))
        ORDER BY t.latest DESC, t.root_id DESC LIMIT $6
        """,
        room_id,
        *(before or (None, None)),
        participated,
        reader,
        limit,
    )
    return [(row[0], row[1]) for row in rows]


async def updated_threads(
    tx: Transaction, room_ids: Collection[RoomId], after: int, before: tuple[int, EventId] | None, limit: int
) -> list[UpdatedThread]:
    """Return the threads of some rooms that have events after a position, those with the newest first."""
    rows = await tx.fetch(
        """
        SELECT r.room_id, t.root_id, t.latest FROM rooms r JOIN threads t USING (room_nid)
        WHERE r.room_id = ANY($1) AND t.latest > $2 AND ($3::bigint IS NULL OR (t.latest, t.root_id) < ($3, $4))
        ORDER BY t.latest DESC, t.root_id DESC LIMIT $5
        """,
        list(room_ids),
        after,
        *(before or (None, None)),
        limit,
    )
    return [UpdatedThread(*row) for row in rows]


async def threads_between(
    tx: Transaction, root_ids: Collection[EventId], ignored: Collection[UserId], after: int, upto: int, most: int
) -> dict[EventId, ThreadNews]:
    """Return what was said in some threads between two positions, but for what ignored people said."""
    rows = await tx.fetch(
        """
        SELECT root.event_id, count(*), (array_agg(child.event_id ORDER BY child.position DESC))[:$5]
        FROM events AS root
        JOIN children AS child
            ON child.parent_id = root.event_id AND child.room_nid = root.room_nid AND child.rel_type = 'm.thread'
        WHERE root.event_id = ANY($1) AND child.sender <> ALL($2)
            AND child.position > $3 AND child.position <= $4 AND child.backfill_rank = 0
        GROUP BY root.event_id
        """,
        list(root_ids),
        list(ignored),
        after,
        upto,
        most,
    )
    return {row[0]: ThreadNews(row[1], row[2]) for row in rows}


async def annotations_by(
    tx: Transaction, wanted: Collection[tuple[EventId, UserId, str]]
) -> list[tuple[EventId, EventId]]:
    """Return pairs of an event and an annotation of it, by their senders and of their types, but for those redacted."""
    rows = await tx.fetch(
        """
        SELECT child.parent_id, child.event_id
        FROM unnest($1::text[], $2::text[], $3::text[]) AS wanted (parent_id, sender, type)
        JOIN children AS child ON child.parent_id = wanted.parent_id AND child.sender = wanted.sender
            AND child.rel_type = 'm.annotation' AND child.child_type = wanted.type
        """,
        *_columns(list(wanted)),
    )
    return [(row[0], row[1]) for row in rows]


def _columns(parents: Sequence[tuple[EventId, UserId, str]]) -> list[list[str]]:
    return [list(column) for column in zip(*parents, strict=True)] if parents else [[], [], []]
