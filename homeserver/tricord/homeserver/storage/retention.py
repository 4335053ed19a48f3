"""SQL of deleting messages whose time is over."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from tricord.homeserver.storage.database import Transaction
from tricord.protocol.identifiers import EventId, RoomId, UserId
from tricord.protocol.media import Mxc

_BEFORE_ALL_TIME = -(2**63)


class PurgePlace(NamedTuple):
    """How far deleting has come: through all rooms below one, and in that one up to an event."""

    room_nid: int = 0
    origin_server_ts: int = _BEFORE_ALL_TIME
    event_nid: int = 0


class RetentionRow(NamedTuple):
    """A room, and the event in which it says how long messages are kept."""

    room_nid: int
    room_id: RoomId
    version: str
    said: bytes | None


class OldMessage(NamedTuple):
    """An event that is not state and whose time is over."""

    event_nid: int
    event_id: EventId
    origin_server_ts: int
    type: str
    sender: UserId
    json: bytes


async def lock_purge(tx: Transaction, now_ms: int) -> PurgePlace | None:
    """Return where to go on, and let nobody else; None if it is not time yet, or somebody else is at it."""
    row = await tx.fetchrow(
        """
        SELECT room_nid, origin_server_ts, event_nid FROM retention_progress WHERE due_ts <= $1 FOR UPDATE SKIP LOCKED
        """,
        now_ms,
    )
    return None if row is None else PurgePlace(*row)


async def set_purge_place(tx: Transaction, place: PurgePlace, due_ms: int = 0) -> None:
    """Note where to go on, and when."""
    await tx.execute(
        "UPDATE retention_progress SET room_nid = $1, origin_server_ts = $2, event_nid = $3, due_ts = $4",
        *place,
        due_ms,
    )


async def rooms_and_their_retention(tx: Transaction, first: int, limit: int) -> list[RetentionRow]:
    """Return rooms from a number on, in order; not those whose state is still being fetched."""
    rows = await tx.fetch(
        """
        SELECT r.room_nid, r.room_id, r.version, e.json FROM rooms r
        LEFT JOIN current_state s ON s.room_nid = r.room_nid AND s.type = 'm.room.retention' AND s.state_key = ''
        LEFT JOIN events e USING (event_nid)
        WHERE r.room_nid >= $1 AND NOT EXISTS (
            SELECT FROM partial_rooms p WHERE p.room_nid = r.room_nid AND p.complete_position IS NULL AND NOT p.is_left
        )
        ORDER BY r.room_nid LIMIT $2
        """,
        first,
        limit,
    )
    return [RetentionRow(*row) for row in rows]


async def first_room_with_old_messages(
    tx: Transaction, horizons: Sequence[tuple[int, int]], place: PurgePlace
) -> int | None:
    """Return the first of some rooms with messages of up to its time, beyond a place."""
    found: int | None = await tx.fetchval(
        """
        SELECT room_nid FROM unnest($1::bigint[], $2::bigint[]) AS wanted (room_nid, horizon)
        WHERE EXISTS (
            SELECT FROM events e
            WHERE e.room_nid = wanted.room_nid AND e.origin_server_ts <= wanted.horizon AND e.state_key IS NULL
                AND (e.room_nid > $3 OR (e.origin_server_ts, e.event_nid) > ($4, $5))
        )
        ORDER BY room_nid LIMIT 1
        """,
        [room_nid for room_nid, _ in horizons],
        [horizon for _, horizon in horizons],
        *place,
    )
    return found


async def lock_room(tx: Transaction, room_nid: int) -> frozenset[int]:
    """Let nobody else write to a room, and return the numbers of its forward extremities."""
    extremities = await tx.fetchval("SELECT extremities FROM rooms WHERE room_nid = $1 FOR UPDATE", room_nid)
    return frozenset(extremities or ())


async def old_messages(tx: Transaction, place: PurgePlace, horizon: int, limit: int) -> list[OldMessage]:
    """Return messages of a room of up to a time, beyond a place, in the order of places."""
    rows = await tx.fetch(
        """
        SELECT event_nid, event_id, origin_server_ts, type, sender, json FROM events
        WHERE room_nid = $1 AND state_key IS NULL AND origin_server_ts >= $2 AND origin_server_ts <= $4
            AND (origin_server_ts, event_nid) > ($2, $3)
        ORDER BY origin_server_ts, event_nid LIMIT $5
        """,
        *place,
        horizon,
        limit,
    )
    return [OldMessage(*row) for row in rows]


async def known_events(tx: Transaction, event_ids: Collection[EventId]) -> set[EventId]:
    """Return those of the events that are here."""
    rows = await tx.fetch("SELECT event_id FROM events WHERE event_id = ANY($1)", list(event_ids))
    return {row[0] for row in rows}


async def delete_messages(
    tx: Transaction,
    messages: Mapping[int, EventId],
    relations: Sequence[tuple[EventId, str, int]],
    redacted: Collection[EventId],
) -> None:
    """Delete events of one room, which is locked, and all that is kept of them.

    `relations` are what they relate to, how, and their numbers; `redacted` is what they redact.
    """
    nids, event_ids = list(messages), list(messages.values())
    # Before the index is touched: it must not be made meanwhile of what is being deleted.
    await tx.execute("SELECT 1 FROM search_progress FOR UPDATE")
    # What is found by the words of a deleted edit is read anew.
    await tx.execute(
        """
        INSERT INTO search_queue (event_nid)
        SELECT event_nid FROM search_index WHERE edit_nid = ANY($1) AND event_nid <> ALL($1) ON CONFLICT DO NOTHING
        """,
        nids,
    )
    await tx.execute("DELETE FROM search_index WHERE event_nid = ANY($1)", nids)
    await tx.execute("DELETE FROM search_queue WHERE event_nid = ANY($1)", nids)
    await tx.execute("DELETE FROM event_relations WHERE parent_id = ANY($1)", event_ids)
    await tx.execute(
        """
        DELETE FROM event_relations
        USING unnest($1::text[], $2::text[], $3::bigint[]) AS gone (parent_id, rel_type, child_nid)
        WHERE event_relations.parent_id = gone.parent_id AND event_relations.rel_type = gone.rel_type
            AND event_relations.child_nid = gone.child_nid
        """,
        [parent_id for parent_id, _, _ in relations],
        [rel_type for _, rel_type, _ in relations],
        [nid for _, _, nid in relations],
    )
    await tx.execute(
        """
        DELETE FROM threads t USING events e
        WHERE e.event_nid = ANY($1) AND t.room_nid = e.room_nid AND t.root_id = e.event_id
        """,
        nids,
    )
    await tx.execute("DELETE FROM missing_events WHERE named_by = ANY($1)", nids)
    await tx.execute(
        "DELETE FROM waiting_redactions WHERE event_id = ANY($1) AND redaction_nid = ANY($2)", list(redacted), nids
    )
    await tx.execute("DELETE FROM events WHERE event_nid = ANY($1)", nids)


async def files_to_delete(tx: Transaction, shown: Collection[tuple[Mxc, UserId]]) -> list[Mxc]:
    """Return those of the files that were uploaded by who showed them, or come from elsewhere, and are in no profile.

    What is quarantined stays, so that it stays known.
    """
    rows = await tx.fetch(
        """
        SELECT DISTINCT m.server_name, m.media_id
        FROM unnest($1::text[], $2::text[], $3::text[]) AS shown (server_name, media_id, sender)
        JOIN media m USING (server_name, media_id)
        WHERE (m.uploader IS NULL OR m.uploader = shown.sender) AND m.quarantined_by IS NULL AND NOT EXISTS (
            SELECT FROM profile_fields p WHERE p.field = 'avatar_url'
                AND p.value = convert_to('"mxc://' || m.server_name || '/' || m.media_id || '"', 'UTF8')
        )
        """,
        [mxc.server_name for mxc, _ in shown],
        [mxc.media_id for mxc, _ in shown],
        [sender for _, sender in shown],
    )
    return [Mxc(*row) for row in rows]
