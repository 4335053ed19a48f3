"""SQL of events that are expected: named as coming before others, or redacted before they came."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tricord.homeserver.rooms.stored_event import StoredEvent
from tricord.homeserver.storage.database import Transaction
from tricord.homeserver.storage.events import events_by_nid
from tricord.protocol.identifiers import EventId


async def named_as_missing(tx: Transaction, event_ids: Collection[EventId]) -> frozenset[EventId]:
    """Return those of the events that an event which is here names as coming before it."""
    rows = await tx.fetch("SELECT DISTINCT event_id FROM missing_events WHERE event_id = ANY($1)", list(event_ids))
    return frozenset(row[0] for row in rows)


async def waiting_redactions(tx: Transaction, event_ids: Sequence[EventId]) -> dict[EventId, int]:
    """Return the numbers of the redactions that came before what they redact."""
    rows = await tx.fetch(
        "SELECT event_id, redaction_nid FROM waiting_redactions WHERE event_id = ANY($1)", list(event_ids)
    )
    return {row[0]: row[1] for row in rows}


async def redactions_waiting_for(tx: Transaction, event_ids: Sequence[EventId]) -> dict[EventId, StoredEvent]:
    """Return the redactions that came before what they redact, by what that is."""
    waiting = await waiting_redactions(tx, event_ids)
    redactions = await events_by_nid(tx, list(waiting.values())) if waiting else {}
    return {event_id: redactions[nid] for event_id, nid in waiting.items() if nid in redactions}
