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
    """Return the servers for which there is something up to a position, and whether each failed the last time."""
    rows = await tx.fetch(
        """
        SELECT d.server_name, d.failing_since_ts IS NOT NULL FROM destinations d
        WHERE EXISTS (
            SELECT FROM room_servers s JOIN outgoing_events o USING (room_nid)
            WHERE s.server_name = d.server_name AND o.position > greatest(d.event_position, s.since)
                AND o.position <= least(s.until, $2)
        ) OR EXISTS (
            SELECT FROM room_servers s JOIN rooms USING (room_nid) JOIN receipts r USING (room_id)
            WHERE s.server_name = d.server_name AND s.until IS NULL
                AND r.position > greatest(d.receipt_position, s.since) AND r.position <= $2
                AND r.receipt_type = 'm.read' AND substr(r.user_id, strpos(r.user_id, ':') + 1) = $1
        )
        UNION SELECT server_name, false FROM outgoing_edus
        """,
        own_name,
        upto,
    )
    return [(row[0], row[1]) for row in rows]
