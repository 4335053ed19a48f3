"""Taking positions in the stream, so that the order of positions is the order of commits."""

from __future__ import annotations

from tricord.homeserver.storage.database import Transaction


async def take_positions(tx: Transaction, count: int) -> int:
    """Take consecutive positions and return the first.

    From here to COMMIT nobody else can take any: call it last in the transaction. Whoever locks other rows after this
    may deadlock with one who locked them before.
    """
    last: int = await tx.fetchval("UPDATE stream SET position = position + $1 RETURNING position", count)
    return last - count + 1


async def current_position(tx: Transaction) -> int:
    """Return the highest committed position; all that was ever given a lower one is readable, or was rolled back."""
    position: int = await tx.fetchval("SELECT position FROM stream")
    return position
