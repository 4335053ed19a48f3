"""SQL of the search index."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tricord.homeserver.storage.database import Transaction
from tricord.protocol.identifiers import EventId, RoomId, UserId

SEARCHED_TYPES = frozenset({"m.room.message", "m.room.name", "m.room.topic", "m.room.redaction"})
"""What the index is made of, and what changes it; the statements below and the schema name the same."""


class IndexRow(NamedTuple):
    """An event that can be found."""

    event_nid: int
    room_nid: int
    position: int
    backfill_rank: int
    sender: UserId
    edit_nid: int | None
    words: str
    """A tsvector."""


class Match(NamedTuple):
    """An event that was found."""

    event_nid: int
    position: int
    backfill_rank: int
    relevance: float
    edit_nid: int | None


@dataclass(frozen=True, slots=True)
class Question:
    """What to look for."""

    query: str
    """A tsquery: words, rooms, kinds of text."""
    words: str
    """A tsquery: the words alone."""
    room_nids: Sequence[int]
    senders: Sequence[UserId] | None
    upto: int
    """Nothing after this position."""


async def stems_of(tx: Transaction, words: Collection[str]) -> list[tuple[str, list[str]]]:
    """Return the stems that words have in some languages."""
    rows = await tx.fetch(
        """
        SELECT word, array_remove(CASE WHEN word ~ '^[a-z]{3,}$' THEN
                ts_lexize('english_stem', word) || ts_lexize('german_stem', word)
                || ts_lexize('french_stem', word) || ts_lexize('spanish_stem', word)
            WHEN word ~ '^[Ѐ-ӿ]{3,}$' THEN ts_lexize('russian_stem', word)
            ELSE '{}'::text[] END, NULL)
        FROM unnest($1::text[]) AS word
        """,
        list(words),
    )
    return [(row[0], row[1] or []) for row in rows]


async def lock_progress(tx: Transaction, *, wait: bool) -> int | None:
    """Return how far the log has been read, and let nobody else read on; None if somebody else is at it.

    COMMIT does not wait for the disk then: were it lost, it would be lost with the progress, and done again.
    """
    await tx.execute("SET LOCAL synchronous_commit TO off")
    if wait:
        position: int | None = await tx.fetchval("SELECT position FROM search_progress FOR UPDATE")
    else:
        position = await tx.fetchval("SELECT position FROM search_progress FOR UPDATE SKIP LOCKED")
    return position


async def set_progress(tx: Transaction, position: int) -> None:
    """Note how far the log has been read."""
    await tx.execute("UPDATE search_progress SET position = $1", position)


async def nids_to_index(tx: Transaction, after: int, limit: int) -> list[tuple[int, int]]:
    """Return the numbers and positions of the next events of the log that matter to the index."""
    rows = await tx.fetch(
        """
        SELECT event_nid, position FROM events
        WHERE position > $1 AND backfill_rank = 0
            AND type IN ('m.room.message', 'm.room.name', 'm.room.topic', 'm.room.redaction')
        ORDER BY position LIMIT $2
        """,
        after,
        limit,
    )
    return [(row[0], row[1]) for row in rows]


async def take_queue(tx: Transaction, limit: int) -> list[int]:
    """Take events of the past from the queue."""
    rows = await tx.fetch(
        """
        DELETE FROM search_queue WHERE event_nid IN (SELECT event_nid FROM search_queue LIMIT $1) RETURNING event_nid
        """,
        limit,
    )
    return [row[0] for row in rows]


async def indexed_by_edits(tx: Transaction, edit_nids: Collection[int]) -> list[EventId]:
    """Return the events that are found by the words of some edits."""
    rows = await tx.fetch(
        "SELECT e.event_id FROM search_index s JOIN events e USING (event_nid) WHERE s.edit_nid = ANY($1)",
        list(edit_nids),
    )
    return [row[0] for row in rows]


async def put_in_index(tx: Transaction, rows: Sequence[IndexRow], gone: Collection[int]) -> None:
    """Let events be found by their words, and others no longer."""
    if gone:
        await tx.execute("DELETE FROM search_index WHERE event_nid = ANY($1)", list(gone))
    if rows:
        await tx.execute(
            """
            INSERT INTO search_index (event_nid, room_nid, position, backfill_rank, sender, edit_nid, words)
            SELECT event_nid, room_nid, position, backfill_rank, sender, edit_nid, words::tsvector
            FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::integer[], $5::text[], $6::bigint[], $7::text[])
                AS t (event_nid, room_nid, position, backfill_rank, sender, edit_nid, words)
            ON CONFLICT (event_nid) DO UPDATE SET position = excluded.position,
                backfill_rank = excluded.backfill_rank, edit_nid = excluded.edit_nid, words = excluded.words
            """,
            *(list(column) for column in zip(*rows, strict=True)),
        )


async def room_nids(tx: Transaction, room_ids: Collection[RoomId]) -> dict[RoomId, int]:
    """Return the numbers of rooms."""
    rows = await tx.fetch("SELECT room_id, room_nid FROM rooms WHERE room_id = ANY($1)", list(room_ids))
    return {row[0]: row[1] for row in rows}


async def newest_matches(
    tx: Transaction, question: Question, before: tuple[int, int, int] | None, limit: int
) -> list[Match]:
    """Return what was found, the newest first, from before a place (position, rank and number)."""
    await tx.allow_bitmaps()
    rows = await tx.fetch(
        """
        SELECT event_nid, position, backfill_rank, ts_rank(words, $2::tsquery, 1), edit_nid FROM search_index
        WHERE words @@ $1::tsquery AND room_nid = ANY($3) AND ($4::text[] IS NULL OR sender = ANY($4))
            AND position <= $5
            AND ($6::bigint IS NULL OR (position, backfill_rank, event_nid) < ($6, $7::integer, $8::bigint))
        ORDER BY position DESC, backfill_rank DESC, event_nid DESC LIMIT $9
        """,
        *_arguments(question),
        *(before or (None, None, None)),
        limit,
    )
    return [Match(*row) for row in rows]


async def best_matches(tx: Transaction, question: Question, offset: int, limit: int, most: int) -> list[Match]:
    """Return what was found, the most relevant first, out of the newest matches."""
    await tx.allow_bitmaps()
    rows = await tx.fetch(
        """
        SELECT * FROM (
            SELECT event_nid, position, backfill_rank, ts_rank(words, $2::tsquery, 1) AS relevance, edit_nid
            FROM search_index
            WHERE words @@ $1::tsquery AND room_nid = ANY($3) AND ($4::text[] IS NULL OR sender = ANY($4))
                AND position <= $5
            ORDER BY position DESC, backfill_rank DESC, event_nid DESC LIMIT $8
        ) AS newest
        ORDER BY relevance DESC, position DESC, backfill_rank DESC, event_nid DESC OFFSET $6 LIMIT $7
        """,
        *_arguments(question),
        offset,
        limit,
        most,
    )
    return [Match(*row) for row in rows]


async def count_matches(
    tx: Transaction, question: Question, since: Mapping[int, int], ignored: Collection[UserId], most: int
) -> int:
    """Return how many matches there are in rooms since a position of each, by people who are not ignored."""
    await tx.allow_bitmaps()
    count: int = await tx.fetchval(
        """
        SELECT count(*) FROM (
            SELECT FROM search_index AS i
            JOIN unnest($6::bigint[], $7::bigint[]) AS stay (room_nid, since) ON stay.room_nid = i.room_nid
            WHERE i.words @@ $1::tsquery AND $2::text IS NOT NULL AND i.room_nid = ANY($3)
                AND ($4::text[] IS NULL OR i.sender = ANY($4)) AND i.position <= $5 AND i.position >= stay.since
                AND i.sender <> ALL($8)
            LIMIT $9
        ) AS matches
        """,
        *_arguments(question),
        list(since),
        list(since.values()),
        list(ignored),
        most,
    )
    return count


async def nids_around(
    tx: Transaction, nids: Collection[int], before: int, after: int
) -> dict[int, tuple[list[int], list[int]]]:
    """Return the numbers of what happened right before some events, and right after them, the nearest first."""
    rows = await tx.fetch(
        """
        SELECT e.event_nid,
            ARRAY(
                SELECT b.event_nid FROM events b
                WHERE b.room_nid = e.room_nid AND (b.position, b.backfill_rank) < (e.position, e.backfill_rank)
                    AND NOT b.rejected AND NOT b.soft_failed
                ORDER BY b.position DESC, b.backfill_rank DESC LIMIT $2
            ),
            ARRAY(
                SELECT a.event_nid FROM events a
                WHERE a.room_nid = e.room_nid AND (a.position, a.backfill_rank) > (e.position, e.backfill_rank)
                    AND NOT a.rejected AND NOT a.soft_failed
                ORDER BY a.position, a.backfill_rank LIMIT $3
            )
        FROM events e WHERE e.event_nid = ANY($1)
        """,
        list(nids),
        before,
        after,
    )
    return {row[0]: (row[1], row[2]) for row in rows}


def _arguments(question: Question) -> tuple[object, ...]:
    return question.query, question.words, list(question.room_nids), question.senders, question.upto
