"""SQL of `media_thumbnails`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from tricord.homeserver.media.blobs import Label
from tricord.homeserver.storage.database import Transaction
from tricord.homeserver.storage.media import BlobGone, label_of


class ThumbnailKey(NamedTuple):
    """What a small image is of, and what it is like."""

    source: bytes
    width: int
    height: int
    method: Literal["crop", "scale"]
    animated: bool


@dataclass(frozen=True, slots=True)
class StoredThumbnail:
    """A row of `media_thumbnails`; `digest` is None where the original itself is given."""

    digest: bytes | None
    size: int
    content_type: str
    label: Label | None = None


async def thumbnail_of(tx: Transaction, key: ThumbnailKey) -> StoredThumbnail | None:
    """Return a small image, if there is one; not one whose bytes nobody may see."""
    row = await tx.fetchrow(
        """
        SELECT t.digest, t.size, t.content_type, b.content_type, b.content_disposition
        FROM media_thumbnails t LEFT JOIN media_blobs b ON b.digest = t.digest
        WHERE source = $1 AND width = $2 AND height = $3 AND method = $4 AND animated = $5 AND b.quarantined_by IS NULL
        """,
        *key,
    )
    if row is None:
        return None
    digest, size, content_type, *label = row
    return StoredThumbnail(digest, size, content_type, label_of(*label))


async def insert_thumbnail(
    tx: Transaction, key: ThumbnailKey, thumbnail: StoredThumbnail, created_ts: int, *, from_elsewhere: bool
) -> None:
    """Add a small image, unless there is one meanwhile. Raises BlobGone.

    The disk is not waited for: one that is lost in a crash is made again.
    """
    is_held = await tx.fetchval(
        # As `hold_blob`: the bytes stay until they are named.
        """
        WITH held AS (SELECT digest FROM media_blobs WHERE digest = $6 AND NOT doomed FOR SHARE),
        added AS (
            INSERT INTO media_thumbnails
                (source, width, height, method, animated, digest, size, content_type, created_ts, from_elsewhere)
            SELECT $1, $2::int, $3::int, $4, $5::boolean, $6::bytea, $7::bigint, $8, $9::bigint, $10::boolean
            WHERE $6 IS NULL OR EXISTS (SELECT FROM held)
            ON CONFLICT DO NOTHING
        )
        SELECT $6 IS NULL OR EXISTS (SELECT FROM held), set_config('synchronous_commit', 'off', true)
        """,
        *key,
        thumbnail.digest,
        thumbnail.size,
        thumbnail.content_type,
        created_ts,
        from_elsewhere,
    )
    if not is_held:
        raise BlobGone


async def delete_thumbnails_from_elsewhere(tx: Transaction, created_before: int) -> None:
    """Forget small images that other servers made, of media that has not been fetched."""
    await tx.execute("DELETE FROM media_thumbnails WHERE from_elsewhere AND created_ts < $1", created_before)
