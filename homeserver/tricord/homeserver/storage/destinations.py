"""SQL of `destinations`: how far each server has got with what goes to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tricord.homeserver.storage.database import Transaction
from tricord.protocol.identifiers import ServerName


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a server has got."""

    server_name: ServerName
    event_position: int
    """It has every outgoing event up to here."""
    receipt_position: int
    """And every receipt up to here."""
    failing_since_ts: int | None = None
    """Since when it has not answered."""
    newest_only_upto: int = 0
    """It was away for so long that of the events up to here it gets the newest of each room."""


async def progress_of(tx: Transaction, server: ServerName) -> Progress | None:
    """Return how far a server has got; None if nothing ever went to it."""
    row = await tx.fetchrow(
        """
        SELECT server_name, event_position, receipt_position, failing_since_ts, newest_only_upto
        FROM destinations WHERE server_name = $1
        """,
        server,
    )
    return None if row is None else Progress(*row)


async def save_progress(tx: Transaction, progress: Sequence[Progress]) -> None:
    """Note how far servers have got; of each only once."""
    await tx.execute(
        """
        INSERT INTO destinations AS d
            (server_name, event_position, receipt_position, failing_since_ts, newest_only_upto)
        SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[]) AS t (server_name)
        ORDER BY server_name
        ON CONFLICT (server_name) DO UPDATE SET
            event_position = greatest(d.event_position, excluded.event_position),
            receipt_position = greatest(d.receipt_position, excluded.receipt_position),
            failing_since_ts = excluded.failing_since_ts, newest_only_upto = excluded.newest_only_upto
        """,
        [one.server_name for one in progress],
        [one.event_position for one in progress],
        [one.receipt_position for one in progress],
        [one.failing_since_ts for one in progress],
        [one.newest_only_upto for one in progress],
    )


async def servers_to_send_to(tx: Transaction, own_name: ServerName, upto: int) -> list[tuple[ServerName, bool]]:
    """Return the servers for which there is something up to a position, and whether each failed the last time.

    There may be nothing for one that left a room after it was last sent to.
    """
    rows = await tx.fetch(
        """
        WITH newest_events AS (
            SELECT room_nid, max(position) AS position FROM outgoing_events WHERE position <= $2 GROUP BY room_nid
        ), newest_receipts AS (
            SELECT room_nid, max(position) AS position FROM receipts JOIN rooms USING (room_id)
            WHERE receipt_type = 'm.read' AND position <= $2 AND substr(user_id, strpos(user_id, ':') + 1) = $1
            GROUP BY room_nid
        )
        SELECT server_name, d.failing_since_ts IS NOT NULL
        FROM room_servers s JOIN destinations d USING (server_name)
            LEFT JOIN newest_events e USING (room_nid) LEFT JOIN newest_receipts r USING (room_nid)
        WHERE least(e.position, s.until) > greatest(d.event_position, s.since)
            OR (s.until IS NULL AND r.position > greatest(d.receipt_position, s.since))
        UNION SELECT server_name, false FROM outgoing_edus
        """,
        own_name,
        upto,
    )
    return [(row[0], row[1]) for row in rows]
