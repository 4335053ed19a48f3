"""The statement that writes events, put together of what there are rows of.

Most groups are messages and nothing else. What is not in the statement need not be sent, looked at or locked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, get_args, get_type_hints

from tricord.homeserver.storage.event_rows import (
    EventRow,
    MembershipRow,
    MissingRow,
    NodeRow,
    RedactionRow,
    RelationRow,
    RoomMove,
    StateRow,
    TransactionRow,
    WaitingRow,
)

_SHAPES: Mapping[str, type[tuple[Any, ...]]] = {
    "rooms": RoomMove,
    "events": EventRow,
    "state": StateRow,
    "nodes": NodeRow,
    "memberships": MembershipRow,
    "relations": RelationRow,
    "redactions": RedactionRow,
    "transactions": TransactionRow,
    "missing": MissingRow,
    "waiting": WaitingRow,
}
_ALWAYS = frozenset({"rooms", "events"})
_SQL_TYPES = {int: "bigint", str: "text", bytes: "bytea", bool: "boolean"}


def statement_of(rows: Mapping[str, Sequence[tuple[Any, ...]]], *, arrive: bool) -> tuple[str, list[Any]]:
    """Return the statement that writes rows of some shapes, and its arguments; `arrive`: events were made elsewhere.

    Where there is one row of each shape, as in most groups where few write, its values are the arguments: an array for
    each would have to be looked into by asyncpg, and taken apart by PostgreSQL.
    """
    present = _ALWAYS | {name for name, of_name in rows.items() if of_name}
    if all(len(rows[name]) == 1 for name in present):
        return _statement(present, arrive=arrive, is_single=True), [
            value for name in _SHAPES for row in rows[name] for value in row
        ]
    arrays: list[Any] = []
    for name, shape in _SHAPES.items():
        if rows[name]:
            arrays += [list(column) for column in zip(*rows[name], strict=True)]
        elif name in _ALWAYS:
            arrays += [[] for _ in shape.__annotations__]
    return _statement(present, arrive=arrive, is_single=False), arrays


@cache
def _statement(present: frozenset[str], *, arrive: bool, is_single: bool) -> str:
    as_seen, taken = {}, 0
    for name, shape in _SHAPES.items():
        if name in present:
            given = _single if is_single else _unnested
            as_seen[name] = given(shape, after=taken, numbered=name == "events")
            taken += len(shape.__annotations__)
    conditions = {
        "unless_answered": _UNLESS_ANSWERED.format_map(as_seen) if "transactions" in present else "",
        "or_else_place": _OR_ELSE_PLACE if arrive else "",
    }
    parts = [
        _ROOMS_AND_EVENTS,
        *(part for name, part in _PARTS.items() if name in present),
        *([_ARRIVALS] * arrive),
    ]
    return ", ".join(parts).format_map(as_seen | conditions) + _RESULT


def _single(shape: type[tuple[Any, ...]], *, after: int, numbered: bool) -> str:
    """Return the one row of a shape as PostgreSQL sees it in the arguments, from the one `after` on."""
    values = [f"${number}::{kind}" for number, kind in enumerate(_kinds(shape), after + 1)]
    columns = list(shape.__annotations__)
    if numbered:
        values.append("1")
        columns.append("number")
    return f"(VALUES ({', '.join(values)})) AS t ({', '.join(columns)})"


def _unnested(shape: type[tuple[Any, ...]], *, after: int, numbered: bool) -> str:
    """Return the rows of a shape as PostgreSQL sees them in arrays of their columns."""
    arrays = ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(_kinds(shape), after + 1))
    columns = ", ".join(shape.__annotations__)
    if numbered:
        return f"unnest({arrays}) WITH ORDINALITY AS t ({columns}, number)"
    return f"unnest({arrays}) AS t ({columns})"


def _kinds(shape: type[tuple[Any, ...]]) -> list[str]:
    """Return what PostgreSQL calls the types of a shape's columns."""
    kinds = (kind if kind in _SQL_TYPES else get_args(kind)[0] for kind in get_type_hints(shape).values())
    return [_SQL_TYPES[kind] for kind in kinds]


# Rooms are locked in the order of their numbers, so that two processes with the same rooms do not wait for each other
# in a circle; the stream comes after them, as for everybody. All else is of a room that is locked.
_ROOMS_AND_EVENTS = """
WITH wanted AS (
    SELECT * FROM {rooms}
), locked AS (
    SELECT r.room_nid FROM rooms r JOIN wanted w ON w.room_nid = r.room_nid AND w.head = r.head
    {unless_answered}
    ORDER BY r.room_nid FOR UPDATE OF r
), moved AS (
    UPDATE rooms r SET head = w.head + 1, state_root = w.state_root, extremities = w.extremities::bigint[]
    FROM wanted w JOIN locked USING (room_nid) WHERE r.room_nid = w.room_nid
    RETURNING r.room_nid
), new_events AS (
    SELECT * FROM {events} JOIN moved USING (room_nid)
), taken AS (
    UPDATE stream SET position = position + let_in.count
    FROM (SELECT count(*) FROM new_events WHERE NOT soft_failed AND NOT rejected) AS let_in
    RETURNING position - let_in.count AS last_before
), placed AS (
    SELECT e.event_nid, e.room_nid, e.forward, last_before + row_number() OVER (ORDER BY number) AS position
    FROM new_events e, taken WHERE NOT soft_failed AND NOT rejected
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
    {or_else_place}
), put_outgoing AS (
    INSERT INTO outgoing_events (position, event_nid, room_nid)
    SELECT position, event_nid, room_nid FROM placed
    WHERE forward AND EXISTS (
        SELECT FROM room_servers s WHERE s.room_nid = placed.room_nid AND s.until IS NULL
    )
)"""

# Looked up once, for all rooms. What another process answers after this has looked has moved the room, too.
_UNLESS_ANSWERED = """
    WHERE w.room_nid NOT IN (SELECT t.room_nid FROM {transactions} JOIN client_transactions USING (digest))"""

# An outlier, or what was refused at first, gets its place.
_OR_ELSE_PLACE = """
    ON CONFLICT (event_nid) DO UPDATE SET
        position = excluded.position, state_after = excluded.state_after, replaces = excluded.replaces,
        redacted_because = excluded.redacted_because, soft_failed = excluded.soft_failed,
        rejected = excluded.rejected, prev_nids = excluded.prev_nids, auth_nids = excluded.auth_nids,
        json = excluded.json, resolved_state = excluded.resolved_state"""

_PARTS: Mapping[str, str] = {
    "state": """put_state AS (
    INSERT INTO current_state (room_nid, type, state_key, event_nid)
    SELECT room_nid, type, state_key, event_nid FROM {state} JOIN moved USING (room_nid)
    WHERE event_nid IS NOT NULL
    ON CONFLICT (room_nid, type, state_key) DO UPDATE SET event_nid = excluded.event_nid
), unset_state AS (
    DELETE FROM current_state s USING {state} JOIN moved USING (room_nid)
    WHERE t.event_nid IS NULL AND s.room_nid = t.room_nid AND s.type = t.type AND s.state_key = t.state_key
)""",
    "nodes": """put_nodes AS (
    INSERT INTO state_nodes (node_id, node)
    SELECT node_id, node FROM {nodes} JOIN moved USING (room_nid)
    ON CONFLICT DO NOTHING
)""",
    "memberships": """last_placed AS (
    SELECT room_nid, max(position) AS position FROM placed GROUP BY room_nid
), put_memberships AS (
    INSERT INTO room_memberships AS m (user_id, room_nid, membership, event_nid, sender, position, since)
    SELECT t.user_id, t.room_nid, t.membership, coalesce(t.event_nid, was.event_nid, 0), t.sender,
        coalesce(e.position, l.position),
        CASE WHEN t.may_be_older AND was.membership = t.membership THEN was.since
            ELSE coalesce(began.position, l.position) END
    FROM {memberships} JOIN last_placed l USING (room_nid)
        LEFT JOIN placed e ON e.event_nid = t.event_nid LEFT JOIN placed began ON began.event_nid = t.since_nid
        LEFT JOIN room_memberships was ON was.user_id = t.user_id AND was.room_nid = t.room_nid
    ON CONFLICT (user_id, room_nid) DO UPDATE SET
        membership = excluded.membership, event_nid = excluded.event_nid, sender = excluded.sender,
        position = excluded.position, since = excluded.since,
        forgotten = m.forgotten AND excluded.membership IN ('leave', 'ban')
)""",
    "relations": """put_relations AS (
    INSERT INTO event_relations (room_nid, parent_id, rel_type, child_nid, child_type, sender)
    SELECT t.* FROM {relations} JOIN moved USING (room_nid)
    RETURNING room_nid, parent_id, rel_type, child_nid
), put_threads AS (
    INSERT INTO threads AS t (room_nid, root_id, latest)
    SELECT r.room_nid, r.parent_id, max(p.position) FROM put_relations r JOIN placed p ON p.event_nid = r.child_nid
    WHERE r.rel_type = 'm.thread' GROUP BY r.room_nid, r.parent_id
    ON CONFLICT (room_nid, root_id) DO UPDATE SET latest = greatest(t.latest, excluded.latest)
)""",
    "redactions": """put_redactions AS (
    UPDATE events e SET json = t.json, redacted_because = t.redacted_because
    FROM {redactions} JOIN moved USING (room_nid) WHERE e.event_nid = t.event_nid
)""",
    "transactions": """put_transactions AS (
    INSERT INTO client_transactions (digest, event_nid, created_ts)
    SELECT digest, event_nid, created_ts FROM {transactions} JOIN moved USING (room_nid)
)""",
    "missing": """put_missing AS (
    INSERT INTO missing_events (event_id, named_by)
    SELECT event_id, named_by FROM {missing} JOIN moved USING (room_nid)
    ON CONFLICT DO NOTHING
)""",
    "waiting": """put_waiting AS (
    INSERT INTO waiting_redactions (event_id, redaction_nid)
    SELECT event_id, redaction_nid FROM {waiting} JOIN moved USING (room_nid)
    ON CONFLICT (event_id) DO UPDATE SET redaction_nid = excluded.redaction_nid
)""",
}

_ARRIVALS = """found AS (
    DELETE FROM missing_events m USING new_events n WHERE m.event_id = n.event_id
), served AS (
    DELETE FROM waiting_redactions w USING new_events n WHERE w.event_id = n.event_id
)"""

_RESULT = """
SELECT room_nid, event_nid, position FROM moved LEFT JOIN placed USING (room_nid)
"""
