"""SQL of `media` and `media_blobs`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tricord.homeserver.media.blobs import Label
from tricord.homeserver.storage.database import Record, Transaction
from tricord.protocol.identifiers import UserId
from tricord.protocol.media import Mxc

_COLUMNS = """
    m.server_name, m.media_id, m.digest, m.size, m.content_type, m.file_name, m.uploader, m.created_ts, m.last_used_ts,
    m.expires_ts, m.needs_token, coalesce(m.quarantined_by, b.quarantined_by) AS quarantined_by,
    b.content_type AS label_type, b.content_disposition AS label_disposition
    FROM media m LEFT JOIN media_blobs b ON b.digest = m.digest
"""


@dataclass(frozen=True, slots=True)
class StoredMedia:
    """A row of `media`; `digest` is None where it has not been uploaded."""

    mxc: Mxc
    digest: bytes | None
    size: int
    content_type: str
    file_name: str | None
    uploader: UserId | None
    created_ts: int
    last_used_ts: int
    expires_ts: int | None
    needs_token: bool
    quarantined_by: str | None
    label: Label | None = None
    """What a store that gives the bytes itself gives them as."""


class BlobGone(Exception):
    """The bytes were claimed so long ago that they have been deleted again."""


def _media(row: Record) -> StoredMedia:
    server_name, media_id, *rest, content_type, disposition = row
    return StoredMedia(*(Mxc(server_name, media_id), *rest, label_of(content_type, disposition)))


def label_of(content_type: str | None, disposition: str | None) -> Label | None:
    """Return the label in two columns of `media_blobs`."""
    return None if content_type is None or disposition is None else Label(content_type, disposition)


async def media_named(tx: Transaction, mxc: Mxc) -> StoredMedia | None:
    """Return what is known of some media."""
    row = await tx.fetchrow(
        f"SELECT {_COLUMNS} WHERE m.server_name = $1 AND m.media_id = $2",  # no foreign text
        mxc.server_name,
        mxc.media_id,
    )
    return None if row is None else _media(row)


async def claim_blob(
    tx: Transaction, digest: bytes, size: int, now_ms: int, label: Label | None = None
) -> tuple[bool, Label | None]:
    """Say that some bytes are about to be kept and named; False if they are just being deleted.

    Return the label to keep them with, too: that with which they were first.

    The disk is not waited for: they are named by a later transaction, which takes this one to the disk with it. What a
    crash of PostgreSQL in between loses is a claim of what nobody was told is kept.
    """
    claimed = await tx.fetchrow(
        """
        INSERT INTO media_blobs (digest, size, claimed_ts, content_type, content_disposition)
        VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (digest) DO UPDATE
            SET size = $2, claimed_ts = $3, content_type = coalesce(media_blobs.content_type, $4),
                content_disposition = coalesce(media_blobs.content_disposition, $5)
            WHERE NOT media_blobs.doomed
        RETURNING content_type, content_disposition, set_config('synchronous_commit', 'off', true)
        """,
        digest,
        size,
        now_ms,
        None if label is None else label.content_type,
        None if label is None else label.content_disposition,
    )
    return (False, None) if claimed is None else (True, label_of(*claimed[:2]))


async def hold_blob(tx: Transaction, digest: bytes) -> None:
    """Keep bytes that have been claimed from being deleted until the transaction has named them. Raises BlobGone."""
    if not await tx.fetchval("SELECT true FROM media_blobs WHERE digest = $1 AND NOT doomed FOR SHARE", digest):
        raise BlobGone


async def insert_media(tx: Transaction, media: StoredMedia) -> None:
    """Add media whose bytes are there, or that is announced; what has the name already is replaced. Raises BlobGone."""
    # As `hold_blob`: the bytes stay until they are named.
    held = "SELECT digest FROM media_blobs WHERE digest = $3 AND NOT doomed FOR SHARE"
    if not await _insert_media(tx, media, held):
        raise BlobGone


async def claim_and_insert_media(tx: Transaction, media: StoredMedia) -> bool:
    """Add media, and say that its bytes are kept; False if they are just being deleted."""
    claimed = """
        INSERT INTO media_blobs (digest, size, claimed_ts) VALUES ($3, $4, $8)
        ON CONFLICT (digest) DO UPDATE SET size = $4, claimed_ts = $8 WHERE NOT media_blobs.doomed
        RETURNING digest
    """
    return await _insert_media(tx, media, claimed)


async def _insert_media(tx: Transaction, media: StoredMedia, held: str) -> bool:
    """Add media if a statement finds that its bytes stay, or it has none."""
    inserted = await tx.fetchval(
        f"""
        WITH held AS ({held})
        INSERT INTO media (server_name, media_id, digest, size, content_type, file_name, uploader, created_ts,
                           last_used_ts, expires_ts, needs_token)
        SELECT $1, $2, $3::bytea, $4::bigint, $5, $6, $7, $8::bigint, $9, $10::bigint, $11
        WHERE $3 IS NULL OR EXISTS (SELECT FROM held)
        ON CONFLICT (server_name, media_id) DO UPDATE
            SET digest = $3, size = $4, content_type = $5, file_name = $6, created_ts = $8, last_used_ts = $9,
                expires_ts = $10, needs_token = $11
        RETURNING true
        """,  # noqa: S608 - one of two constants
        media.mxc.server_name,
        media.mxc.media_id,
        media.digest,
        media.size,
        media.content_type,
        media.file_name,
        media.uploader,
        media.created_ts,
        media.last_used_ts,
        media.expires_ts,
        media.needs_token,
    )
    return bool(inserted)


async def complete_media(tx: Transaction, media: StoredMedia, now_ms: int) -> bool:
    """Give announced media its bytes; False if it has some, or its time is over. Raises BlobGone."""
    assert media.digest is not None  # noqa: S101  # it is what it is given
    await hold_blob(tx, media.digest)
    completed = await tx.fetchval(
        """
        UPDATE media SET digest = $3, size = $4, content_type = $5, file_name = $6, expires_ts = NULL
        WHERE server_name = $1 AND media_id = $2 AND digest IS NULL AND expires_ts > $7
        RETURNING true
        """,
        media.mxc.server_name,
        media.mxc.media_id,
        media.digest,
        media.size,
        media.content_type,
        media.file_name,
        now_ms,
    )
    return bool(completed)


async def bytes_of_uploader(tx: Transaction, user_id: UserId) -> int:
    """Return what a user's uploads take together."""
    total: int = await tx.fetchval("SELECT coalesce(sum(size), 0)::bigint FROM media WHERE uploader = $1", user_id)
    return total


async def announced_by(tx: Transaction, user_id: UserId, now_ms: int) -> list[int]:
    """Return until when those uploads are waited for that a user has announced and not made, the next first."""
    rows = await tx.fetch(
        # What has a size already is just being uploaded.
        """
        SELECT expires_ts FROM media WHERE uploader = $1 AND digest IS NULL AND size = 0 AND expires_ts > $2
        ORDER BY expires_ts
        """,
        user_id,
        now_ms,
    )
    return [row["expires_ts"] for row in rows]


async def reserve(tx: Transaction, media: StoredMedia, quota_bytes: int) -> bool:
    """Count media among its user's before its bytes are kept; False if all would then be more than the quota.

    What is not given back counts until it would have expired as an announcement.
    """
    await tx.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"media_quota/{media.uploader}")
    inserted = await tx.fetchval(
        """
        INSERT INTO media (server_name, media_id, size, uploader, created_ts, last_used_ts, expires_ts, needs_token)
        SELECT $1, $2, $3::bigint, $4::text, $5, $6, $7::bigint, $8
        WHERE $3 <= $9::bigint - (
            SELECT coalesce(sum(size), 0) FROM media
            WHERE uploader = $4 AND NOT (server_name = $1 AND media_id = $2)
        )
        ON CONFLICT (server_name, media_id) DO UPDATE
            SET size = CASE WHEN media.digest IS NULL THEN $3 ELSE media.size END
        RETURNING true
        """,
        media.mxc.server_name,
        media.mxc.media_id,
        media.size,
        media.uploader,
        media.created_ts,
        media.last_used_ts,
        media.expires_ts,
        media.needs_token,
        quota_bytes,
    )
    return bool(inserted)


async def give_back(tx: Transaction, mxc: Mxc, *, announced: bool) -> None:
    """Let media whose bytes have not come count no longer; what was announced is still waited for."""
    change = "UPDATE media SET size = 0" if announced else "DELETE FROM media"
    await tx.execute(
        f"{change} WHERE server_name = $1 AND media_id = $2 AND digest IS NULL", mxc.server_name, mxc.media_id
    )


async def note_uses(tx: Transaction, uses: Mapping[Mxc, int]) -> None:
    """Write when media was last asked for."""
    await tx.execute(
        """
        WITH used AS (
            SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[]) AS t (server_name, media_id, ts)
        ), locked AS (
            -- In one order everywhere, so that two who note the same do not wait for each other in a circle.
            SELECT server_name, media_id FROM media m JOIN used USING (server_name, media_id)
            ORDER BY server_name, media_id FOR NO KEY UPDATE OF m
        )
        UPDATE media m SET last_used_ts = used.ts FROM used JOIN locked USING (server_name, media_id)
        WHERE m.server_name = used.server_name AND m.media_id = used.media_id AND m.last_used_ts < used.ts
        """,
        [mxc.server_name for mxc in uses],
        [mxc.media_id for mxc in uses],
        list(uses.values()),
    )


async def delete_media(tx: Transaction, names: Sequence[Mxc]) -> int:
    """Forget media, and return how much there was; bytes that nothing else has go with the next sweep."""
    rows = await tx.fetch(
        """
        DELETE FROM media USING unnest($1::text[], $2::text[]) AS gone (server_name, media_id)
        WHERE media.server_name = gone.server_name AND media.media_id = gone.media_id
        RETURNING 1
        """,
        [mxc.server_name for mxc in names],
        [mxc.media_id for mxc in names],
    )
    return len(rows)


async def delete_expired_announcements(tx: Transaction, now_ms: int) -> None:
    """Forget the uploads that were announced and not made in time."""
    await tx.execute("DELETE FROM media WHERE digest IS NULL AND expires_ts < $1", now_ms)


async def doom_unnamed_blobs(tx: Transaction, limit: int, *, claimed_before: int, begun_before: int) -> list[bytes]:
    """Mark bytes that nothing names for deletion; return them, and those whose deletion was begun and not finished."""
    found = await tx.fetch(
        """
        SELECT digest FROM media_blobs b
        WHERE CASE WHEN doomed THEN claimed_ts < $3 ELSE claimed_ts < $2 AND quarantined_by IS NULL END
          AND NOT EXISTS (SELECT FROM media WHERE media.digest = b.digest)
          AND NOT EXISTS (SELECT FROM media_thumbnails t WHERE t.digest = b.digest)
        LIMIT $1 FOR UPDATE SKIP LOCKED
        """,
        limit,
        claimed_before,
        begun_before,
    )
    return await doom_if_unnamed(tx, [row["digest"] for row in found])


async def doom_if_unnamed(tx: Transaction, digests: Sequence[bytes]) -> list[bytes]:
    """Mark those of some bytes for deletion that nothing names, and return them; the transaction has locked their rows.

    Who has named some in between is seen only by a statement that begins after that.
    """
    rows = await tx.fetch(
        """
        UPDATE media_blobs b SET doomed = true, claimed_ts = 0
        WHERE digest = ANY($1)
          AND NOT EXISTS (SELECT FROM media WHERE media.digest = b.digest)
          AND NOT EXISTS (SELECT FROM media_thumbnails t WHERE t.digest = b.digest)
        RETURNING digest
        """,
        list(digests),
    )
    return [row["digest"] for row in rows]


async def begin_deletion(tx: Transaction, digests: Sequence[bytes], now_ms: int, *, begun_before: int) -> list[bytes]:
    """Note that some doomed bytes are being deleted; return which: not those that somebody else is deleting."""
    rows = await tx.fetch(
        """
        UPDATE media_blobs SET claimed_ts = $2 WHERE digest = ANY($1) AND doomed AND claimed_ts < $3 RETURNING digest
        """,
        list(digests),
        now_ms,
        begun_before,
    )
    return [row["digest"] for row in rows]


async def delete_doomed_blobs(tx: Transaction, digests: Sequence[bytes]) -> None:
    """Forget bytes that have been deleted, and that there were small images of them."""
    await tx.execute("DELETE FROM media_thumbnails WHERE source = ANY($1)", list(digests))
    await tx.execute("DELETE FROM media_blobs WHERE digest = ANY($1) AND doomed", list(digests))
