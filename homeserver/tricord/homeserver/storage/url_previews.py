"""SQL of `url_previews`."""

from __future__ import annotations

from tricord.homeserver.storage.database import Transaction


async def preview_of(tx: Transaction, url_digest: bytes, fetched_after: int) -> bytes | None:
    """Return the last preview of a URL, if it is not older than that."""
    answer: bytes | None = await tx.fetchval(
        "SELECT answer FROM url_previews WHERE url_digest = $1 AND fetched_ts > $2 ORDER BY fetched_ts DESC LIMIT 1",
        url_digest,
        fetched_after,
    )
    return answer


async def insert_preview(
    tx: Transaction, url_digest: bytes, answer: bytes, image_id: str | None, fetched_ts: int
) -> None:
    """Remember a preview, beside those of before: each goes with its image."""
    await tx.execute(
        "INSERT INTO url_previews (url_digest, answer, image_id, fetched_ts) VALUES ($1, $2, $3, $4)",
        url_digest,
        answer,
        image_id,
        fetched_ts,
    )


async def delete_old_previews(tx: Transaction, fetched_before: int) -> list[str]:
    """Forget previews; return the ids of the images that were in them."""
    rows = await tx.fetch("DELETE FROM url_previews WHERE fetched_ts < $1 RETURNING image_id", fetched_before)
    return [row["image_id"] for row in rows if row["image_id"] is not None]
