"""SQL of `media_upkeep`: whose turn it is."""

from __future__ import annotations

from typing import Literal

from tricord.homeserver.storage.database import Transaction

Job = Literal["sweep", "store"]


async def take_turn(tx: Transaction, job: Job, now_ms: int, until_ms: int) -> bytes | None:
    """Return where to go on with a job, which nobody else does until some time; None if it is not due."""
    place: bytes | None = await tx.fetchval(
        "UPDATE media_upkeep SET due_ts = $3 WHERE job = $1 AND due_ts <= $2 RETURNING place", job, now_ms, until_ms
    )
    return place


async def note_turn(tx: Transaction, job: Job, place: bytes, due_ms: int) -> None:
    """Note how far a job has come, and until when it goes on, or rests."""
    await tx.execute("UPDATE media_upkeep SET place = $2, due_ts = $3 WHERE job = $1", job, place, due_ms)
