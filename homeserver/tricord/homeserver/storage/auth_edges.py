"""SQL of which events vouch for which."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tricord.homeserver.storage.database import Transaction
from tricord.protocol.identifiers import EventId


async def auth_edges(tx: Transaction, event_ids: Collection[EventId]) -> dict[EventId, Sequence[EventId]]:
    """Return the `auth_events` of those of the events that are here, as far as these are here."""
    rows = await tx.fetch(
        """
        SELECT e.event_id, array(SELECT a.event_id FROM events a WHERE a.event_nid = ANY(e.auth_nids))
        FROM events e WHERE e.event_id = ANY($1)
        """,
        list(event_ids),
    )
    return {row[0]: row[1] for row in rows}


async def event_ids_by_nid(tx: Transaction, nids: Collection[int]) -> dict[int, EventId]:
    """Return the names of events."""
    rows = await tx.fetch("SELECT event_nid, event_id FROM events WHERE event_nid = ANY($1)", list(nids))
    return {row[0]: row[1] for row in rows}
