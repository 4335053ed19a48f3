"""SQL of `client_transactions`; `write_events` writes them."""

from __future__ import annotations

from collections.abc import Sequence

from tricord.homeserver.storage.database import Transaction


async def answered_transactions(tx: Transaction, digests: Sequence[bytes]) -> dict[bytes, int]:
    """Return the event numbers that those of the transactions were answered with which are known."""
    rows = await tx.fetch("SELECT digest, event_nid FROM client_transactions WHERE digest = ANY($1)", list(digests))
    return {row[0]: row[1] for row in rows}


async def prune_client_transactions(tx: Transaction, before_ts: int) -> None:
    """Forget what was answered before a time."""
    await tx.allow_bitmaps()
    await tx.execute("DELETE FROM client_transactions WHERE created_ts < $1", before_ts)
