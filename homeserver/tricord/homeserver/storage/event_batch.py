"""Writing events: everything that a group of appends changes, in one statement.

A statement over arrays costs PostgreSQL and us a fraction of one statement each, and needs one round trip and one fsync
for the group. Rooms that have moved since they were read stay as they are, with all that is of them; the others are
written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tricord.homeserver.storage.database import Transaction
from tricord.homeserver.storage.room_servers import RemoteMemberRow, memberships_before, note_members


class RoomMove(NamedTuple):
    """A room's next head, computed against `head`."""

    room_nid: int
    head: int
    state_root: bytes
    extremities: str  # an array literal: arrays of arrays cannot be unnested


class EventRow(NamedTuple):
    """A new event, or one that was an outlier; its position is given when it is written, if it is let in."""

    room_nid: int
    event_nid: int
    event_id: str
    depth: int
    type: str
    state_key: str | None
    sender: str
    origin_server_ts: int
    state_after: bytes
    replaces: str | None
    redacted_because: str | None
    soft_failed: bool
    rejected: bool
    sender_device: str | None
    transaction_id: str | None
    prev_nids: str  # an array literal
    auth_nids: str  # an array literal
    json: bytes
    forward: bool
    resolved_state: bytes | None


class StateRow(NamedTuple):
    """What a key of the current state becomes; None: it is no longer set."""

    room_nid: int
    type: str
    state_key: str
    event_nid: int | None


class NodeRow(NamedTuple):
    """A new node of a state."""

    room_nid: int
    node_id: bytes
    node: bytes


class MembershipRow(NamedTuple):
    """What a user becomes to a room.

    The membership began with the event `since_nid` of this batch, or (`may_be_older`) with whatever event began it if
    it was the same before. Events that are not of this batch have come into force with its last.
    """

    room_nid: int
    user_id: str
    membership: str
    event_nid: int | None
    sender: str
    since_nid: int | None
    may_be_older: bool


class RelationRow(NamedTuple):
    """That an event relates to another."""

    room_nid: int
    parent_id: str
    rel_type: str
    child_nid: int
    child_type: str
    sender: str


class RedactionRow(NamedTuple):
    """What an event that was there before this batch becomes by being redacted."""

    room_nid: int
    event_nid: int
    json: bytes
    redacted_because: str


class MissingRow(NamedTuple):
    """An event that is not here, and one that names it as coming before it."""

    room_nid: int
    event_id: str
    named_by: int


class WaitingRow(NamedTuple):
    """An event that is not here, and its redaction."""

    room_nid: int
    event_id: str
    redaction_nid: int


class TransactionRow(NamedTuple):
    """A client's request that is answered with an event."""

    room_nid: int
    digest: bytes
    event_nid: int
    created_ts: int


@dataclass(slots=True)
class EventBatch:
    """Rows to write; of no table two with the same key."""

    rooms: list[RoomMove] = field(default_factory=list)
    events: list[EventRow] = field(default_factory=list)
    state: list[StateRow] = field(default_factory=list)
    nodes: list[NodeRow] = field(default_factory=list)
    memberships: list[MembershipRow] = field(default_factory=list)
    relations: list[RelationRow] = field(default_factory=list)
    redactions: list[RedactionRow] = field(default_factory=list)
    transactions: list[TransactionRow] = field(default_factory=list)
    missing: list[MissingRow] = field(default_factory=list)
    waiting: list[WaitingRow] = field(default_factory=list)
    remote_members: list[RemoteMemberRow] = field(default_factory=list)


async def write_events(tx: Transaction, batch: EventBatch) -> tuple[frozenset[int], dict[int, int]]:
    """Write a batch; return which rooms it was written to, and the positions of the events by their numbers.

    To rooms that had moved nothing was written. It takes positions, so it is the end of the transaction.
    """
    before = await memberships_before(tx, batch.remote_members) if batch.remote_members else {}
    rows = await tx.fetch(
        _WRITE,
        *_columns(batch.rooms, RoomMove),
        *_columns(batch.events, EventRow),
        *_columns(batch.state, StateRow),
        *_columns(batch.nodes, NodeRow),
        *_columns(batch.memberships, MembershipRow),
        *_columns(batch.relations, RelationRow),
        *_columns(batch.redactions, RedactionRow),
        *_columns(batch.transactions, TransactionRow),
        *_columns(batch.missing, MissingRow),
        *_columns(batch.waiting, WaitingRow),
    )
    positions = {row[1]: row[2] for row in rows if row[1] is not None}
    if batch.remote_members and positions:
        # Who was read before the rooms were locked was read rightly, or the room has moved and was not written to.
        last_positions = {row[0]: row[2] for row in sorted(rows, key=lambda row: row[2] or 0) if row[1] is not None}
        await note_members(tx, batch.remote_members, before, positions, last_positions)
    return frozenset(row[0] for row in rows), positions


def _columns(rows: Sequence[tuple[Any, ...]], shape: type[tuple[Any, ...]]) -> list[list[Any]]:
    """Turn rows into an array for each column."""
    if not rows:
        return [[] for _ in shape.__annotations__]
    return [list(column) for column in zip(*rows, strict=True)]


# Rooms are locked in the order of their numbers, so that two processes with the same rooms do not wait for each other
# in a circle; the stream comes after them, as for everybody. All else is of a room that is locked.
_WRITE = """
WITH wanted AS (
    SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bytea[], $4::text[])
        AS t (room_nid, head, state_root, extremities)
), locked AS (
    SELECT r.room_nid FROM rooms r JOIN wanted w ON w.room_nid = r.room_nid AND w.head = r.head
    ORDER BY r.room_nid FOR UPDATE OF r
), moved AS (
    UPDATE rooms r SET head = w.head + 1, state_root = w.state_root, extremities = w.extremities::bigint[]
    FROM wanted w JOIN locked USING (room_nid) WHERE r.room_nid = w.room_nid
    RETURNING r.room_nid
), new_events AS (
    SELECT * FROM unnest(
        $5::bigint[], $6::bigint[], $7::text[], $8::bigint[], $9::text[], $10::text[], $11::text[], $12::bigint[],
        $13::bytea[], $14::text[], $15::text[], $16::boolean[], $17::boolean[], $18::text[], $19::text[],
        $20::text[], $21::text[], $22::bytea[], $23::boolean[], $24::bytea[]
    ) WITH ORDINALITY AS t (
        room_nid, event_nid, event_id, depth, type, state_key, sender, origin_server_ts,
        state_after, replaces, redacted_because, soft_failed, rejected, sender_device, transaction_id,
        prev_nids, auth_nids, json, forward, resolved_state, number
    ) JOIN moved USING (room_nid)
), taken AS (
    UPDATE stream SET position = position + let_in.count
    FROM (SELECT count(*) FROM new_events WHERE NOT soft_failed AND NOT rejected) AS let_in
    RETURNING position - let_in.count AS last_before
), placed AS (
    SELECT e.event_nid, e.room_nid, e.forward, last_before + row_number() OVER (ORDER BY number) AS position
    FROM new_events e, taken WHERE NOT soft_failed AND NOT rejected
), last_placed AS (
    SELECT room_nid, max(position) AS position FROM placed GROUP BY room_nid
), put_events AS (
    INSERT INTO events AS e (
        room_nid, event_nid, event_id, position, depth, type, state_key, sender, origin_server_ts,
        state_after, replaces, redacted_because, soft_failed, rejected, sender_device, transaction_id,
        prev_nids, auth_nids, json, resolved_state
    )
    SELECT n.room_nid, event_nid, event_id, p.position, depth, type, state_key, sender, origin_server_ts,
        state_after, replaces, redacted_because, soft_failed, rejected, sender_device, transaction_id,
        prev_nids::bigint[], auth_nids::bigint[], json, resolved_state
    FROM new_events n LEFT JOIN placed p USING (event_nid)
    ON CONFLICT (event_nid) DO UPDATE SET
        position = excluded.position, state_after = excluded.state_after, replaces = excluded.replaces,
        redacted_because = excluded.redacted_because, soft_failed = excluded.soft_failed,
        rejected = excluded.rejected, prev_nids = excluded.prev_nids, auth_nids = excluded.auth_nids,
        json = excluded.json, resolved_state = excluded.resolved_state
), put_state AS (
    INSERT INTO current_state (room_nid, type, state_key, event_nid)
    SELECT room_nid, type, state_key, event_nid
    FROM unnest($25::bigint[], $26::text[], $27::text[], $28::bigint[]) AS t (room_nid, type, state_key, event_nid)
        JOIN moved USING (room_nid)
    WHERE event_nid IS NOT NULL
    ON CONFLICT (room_nid, type, state_key) DO UPDATE SET event_nid = excluded.event_nid
), unset_state AS (
    DELETE FROM current_state s
    USING unnest($25::bigint[], $26::text[], $27::text[], $28::bigint[]) AS t (room_nid, type, state_key, event_nid)
        JOIN moved USING (room_nid)
    WHERE t.event_nid IS NULL AND s.room_nid = t.room_nid AND s.type = t.type AND s.state_key = t.state_key
), put_nodes AS (
    INSERT INTO state_nodes (node_id, node)
    SELECT node_id, node FROM unnest($29::bigint[], $30::bytea[], $31::bytea[]) AS t (room_nid, node_id, node)
        JOIN moved USING (room_nid)
    ON CONFLICT DO NOTHING
), put_memberships AS (
    INSERT INTO room_memberships AS m (user_id, room_nid, membership, event_nid, sender, position, since)
    SELECT t.user_id, t.room_nid, t.membership, coalesce(t.event_nid, was.event_nid, 0), t.sender,
        coalesce(e.position, l.position),
        CASE WHEN t.may_be_older AND was.membership = t.membership THEN was.since
            ELSE coalesce(began.position, l.position) END
    FROM unnest($32::bigint[], $33::text[], $34::text[], $35::bigint[], $36::text[], $37::bigint[], $38::boolean[])
        AS t (room_nid, user_id, membership, event_nid, sender, since_nid, may_be_older)
        JOIN last_placed l USING (room_nid)
        LEFT JOIN placed e ON e.event_nid = t.event_nid LEFT JOIN placed began ON began.event_nid = t.since_nid
        LEFT JOIN room_memberships was ON was.user_id = t.user_id AND was.room_nid = t.room_nid
    ON CONFLICT (user_id, room_nid) DO UPDATE SET
        membership = excluded.membership, event_nid = excluded.event_nid, sender = excluded.sender,
        position = excluded.position, since = excluded.since,
        forgotten = m.forgotten AND excluded.membership IN ('leave', 'ban')
), put_outgoing AS (
    INSERT INTO outgoing_events (position, event_nid, room_nid)
    SELECT position, event_nid, room_nid FROM placed
    WHERE forward AND EXISTS (
        SELECT FROM room_servers s WHERE s.room_nid = placed.room_nid AND s.until IS NULL
    )
), put_relations AS (
    INSERT INTO event_relations (room_nid, parent_id, rel_type, child_nid, child_type, sender)
    SELECT t.* FROM unnest($39::bigint[], $40::text[], $41::text[], $42::bigint[], $43::text[], $44::text[])
        AS t (room_nid, parent_id, rel_type, child_nid, child_type, sender) JOIN moved USING (room_nid)
    RETURNING room_nid, parent_id, rel_type, child_nid
), put_threads AS (
    INSERT INTO threads AS t (room_nid, root_id, latest)
    SELECT r.room_nid, r.parent_id, max(p.position) FROM put_relations r JOIN placed p ON p.event_nid = r.child_nid
    WHERE r.rel_type = 'm.thread' GROUP BY r.room_nid, r.parent_id
    ON CONFLICT (room_nid, root_id) DO UPDATE SET latest = greatest(t.latest, excluded.latest)
), put_redactions AS (
    UPDATE events e SET json = t.json, redacted_because = t.redacted_because
    FROM unnest($45::bigint[], $46::bigint[], $47::bytea[], $48::text[])
        AS t (room_nid, event_nid, json, redacted_because) JOIN moved USING (room_nid)
    WHERE e.event_nid = t.event_nid
), put_transactions AS (
    INSERT INTO client_transactions (digest, event_nid, created_ts)
    SELECT digest, event_nid, created_ts
    FROM unnest($49::bigint[], $50::bytea[], $51::bigint[], $52::bigint[])
        AS t (room_nid, digest, event_nid, created_ts) JOIN moved USING (room_nid)
), put_missing AS (
    INSERT INTO missing_events (event_id, named_by)
    SELECT event_id, named_by FROM unnest($53::bigint[], $54::text[], $55::bigint[]) AS t (room_nid, event_id, named_by)
        JOIN moved USING (room_nid)
    ON CONFLICT DO NOTHING
), found AS (
    DELETE FROM missing_events m USING new_events n WHERE m.event_id = n.event_id
), put_waiting AS (
    INSERT INTO waiting_redactions (event_id, redaction_nid)
    SELECT event_id, redaction_nid
    FROM unnest($56::bigint[], $57::text[], $58::bigint[]) AS t (room_nid, event_id, redaction_nid)
        JOIN moved USING (room_nid)
    ON CONFLICT (event_id) DO UPDATE SET redaction_nid = excluded.redaction_nid
), served AS (
    DELETE FROM waiting_redactions w USING new_events n WHERE w.event_id = n.event_id
)
SELECT room_nid, event_nid, position FROM moved LEFT JOIN placed USING (room_nid)
"""
