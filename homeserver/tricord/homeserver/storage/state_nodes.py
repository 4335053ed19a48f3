"""SQL of `state_nodes`; `write_events` writes them."""

from __future__ import annotations

from collections.abc import Sequence

from tricord.homeserver.storage.database import Transaction


async def nodes_by_id(tx: Transaction, node_ids: Sequence[bytes]) -> dict[bytes, bytes]:
    """Return nodes."""
    rows = await tx.fetch("SELECT node_id, node FROM state_nodes WHERE node_id = ANY($1)", list(node_ids))
    return {row[0]: row[1] for row in rows}
