"""SQL of `incoming_transactions`."""

from __future__ import annotations

from tricord.homeserver.storage.database import Transaction
from tricord.protocol.identifiers import ServerName


async def answer_given(tx: Transaction, origin: ServerName, transaction_id: str) -> bytes | None:
    """Return the answer that a transaction got; None for one that is new."""
    answer: bytes | None = await tx.fetchval(
        "SELECT answer FROM incoming_transactions WHERE origin = $1 AND transaction_id = $2", origin, transaction_id
    )
    return answer


async def keep_answer(
    tx: Transaction, origin: ServerName, transaction_id: str, answer: bytes, received_ts: int
) -> None:
    """Keep the answer to a transaction."""
    await tx.execute(
        """
        INSERT INTO incoming_transactions (origin, transaction_id, answer, received_ts) VALUES ($1, $2, $3, $4)
        ON CONFLICT DO NOTHING
        """,
        origin,
        transaction_id,
        answer,
        received_ts,
    )


async def forget_answers(tx: Transaction, before_ts: int) -> None:
    """Forget answers that nobody will ask for again."""
    await tx.allow_bitmaps()
    await tx.execute("DELETE FROM incoming_transactions WHERE received_ts < $1", before_ts)
