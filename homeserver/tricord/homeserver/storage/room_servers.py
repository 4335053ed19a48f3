"""SQL of `room_servers`: which servers get what happens in a room, from which position to which.

`write_events` keeps it, in the transaction that writes the memberships from which it follows.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tricord.homeserver.storage.database import Transaction
from tricord.protocol.identifiers import RoomId, ServerName


class RemoteMemberRow(NamedTuple):
    """What a user of another server becomes to a room, by which event if it is of this batch."""

    room_nid: int
    user_id: str
    server_name: str
    membership: str
    event_nid: int | None
    by_us: bool  # somebody else's event, that this server sends on


MembershipsBefore = Mapping[tuple[int, str], str]


@dataclass(slots=True)
class _Change:
    """How many more users a server has in a room, and where the first and the last of them came or went."""

    more: int
    first: int
    last: int


async def memberships_before(tx: Transaction, rows: Sequence[RemoteMemberRow]) -> MembershipsBefore:
    """Return what users are to rooms by now."""
    found = await tx.fetch(
        """
        SELECT room_nid, user_id, membership
        FROM unnest($1::bigint[], $2::text[]) AS t (room_nid, user_id) JOIN room_memberships USING (room_nid, user_id)
        """,
        [row.room_nid for row in rows],
        [row.user_id for row in rows],
    )
    return {(row[0], row[1]): row[2] for row in found}


async def note_members(
    tx: Transaction,
    rows: Collection[RemoteMemberRow],
    before: MembershipsBefore,
    positions: Mapping[int, int],
    last_positions: Mapping[int, int],
) -> None:
    """Take in what users of other servers became to rooms, as it has just been written.

    `positions` are those of the events by their numbers; `last_positions` are of the last events of the rooms, and
    rooms without one were not written to.
    """
    changes: dict[tuple[int, str], _Change] = {}
    uninvited: list[tuple[int, str, int]] = []
    for row in rows:
        last = last_positions.get(row.room_nid)
        if last is None:
            continue
        position = last if row.event_nid is None else positions.get(row.event_nid, last)
        was = before.get((row.room_nid, row.user_id), "leave")
        more = (row.membership == "join") - (was == "join")
        if more:
            change = changes.setdefault((row.room_nid, row.server_name), _Change(0, position, position))
            change.more += more
            change.first, change.last = min(change.first, position), max(change.last, position)
        elif row.by_us and was in ("invite", "knock") and row.membership in ("leave", "ban"):
            uninvited.append((row.room_nid, row.server_name, position))
    if changes:
        await _count(tx, changes)
    if uninvited:
        await _tell_uninvited(tx, uninvited)


async def _count(tx: Transaction, changes: Mapping[tuple[int, str], _Change]) -> None:
    await tx.execute(
        """
        WITH changes AS (
            SELECT * FROM unnest($1::bigint[], $2::text[], $3::integer[], $4::bigint[], $5::bigint[])
                AS t (room_nid, server_name, more, first, last)
        ), counted AS (
            UPDATE room_servers s SET joined = joined + more, until = CASE WHEN joined + more <= 0 THEN last END
            FROM changes c WHERE s.room_nid = c.room_nid AND s.server_name = c.server_name AND s.until IS NULL
            RETURNING s.room_nid, s.server_name
        ), come AS (
            SELECT * FROM changes c WHERE more > 0 AND NOT EXISTS (
                SELECT FROM counted d WHERE d.room_nid = c.room_nid AND d.server_name = c.server_name
            )
        ), put AS (
            INSERT INTO room_servers (room_nid, server_name, since, joined)
            SELECT room_nid, server_name, first, more FROM come
        )
        INSERT INTO destinations (server_name, event_position, receipt_position)
        SELECT server_name, min(first), min(first) FROM come GROUP BY server_name
        ON CONFLICT DO NOTHING
        """,
        [room_nid for room_nid, _ in changes],
        [server for _, server in changes],
        [change.more for change in changes.values()],
        [change.first for change in changes.values()],
        [change.last for change in changes.values()],
    )


async def _tell_uninvited(tx: Transaction, uninvited: Sequence[tuple[int, str, int]]) -> None:
    """Send to servers that are not in a room that somebody of theirs is invited no longer."""
    await tx.execute(
        """
        WITH told AS (
            SELECT * FROM unnest($1::bigint[], $2::text[], $3::bigint[]) AS t (room_nid, server_name, position)
            WHERE NOT EXISTS (
                SELECT FROM room_servers s
                WHERE s.room_nid = t.room_nid AND s.server_name = t.server_name AND s.until IS NULL
            )
        ), put AS (
            INSERT INTO room_servers (room_nid, server_name, since, until, joined)
            SELECT room_nid, server_name, position - 1, position, 0 FROM told
            ON CONFLICT DO NOTHING
        ), sent AS (
            INSERT INTO outgoing_events (position, event_nid, room_nid)
            SELECT position, e.event_nid, room_nid FROM told JOIN events e USING (room_nid, position)
            WHERE e.backfill_rank = 0
            ON CONFLICT DO NOTHING
        )
        INSERT INTO destinations (server_name, event_position, receipt_position)
        SELECT server_name, min(position) - 1, min(position) - 1 FROM told GROUP BY server_name
        ON CONFLICT DO NOTHING
        """,
        [room_nid for room_nid, _, _ in uninvited],
        [server for _, server, _ in uninvited],
        [position for _, _, position in uninvited],
    )


async def servers_in(tx: Transaction, room_ids: Collection[RoomId]) -> list[tuple[RoomId, ServerName, bool]]:
    """Return the other servers that are or were in some rooms, and whether they are."""
    rows = await tx.fetch(
        """
        SELECT r.room_id, s.server_name, bool_or(s.until IS NULL)
        FROM rooms r JOIN room_servers s USING (room_nid) WHERE r.room_id = ANY($1)
        GROUP BY r.room_id, s.server_name
        """,
        list(room_ids),
    )
    return [(row[0], row[1], row[2]) for row in rows]
