"""SQL for who keeps order among media: what is too old or too much, what nobody shall see, what shall be gone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tricord.homeserver.storage.database import Transaction
from tricord.homeserver.storage.media import doom_if_unnamed
from tricord.protocol.identifiers import ServerName, UserId
from tricord.protocol.media import Mxc


@dataclass(frozen=True, slots=True)
class Usage:
    """How much media there is."""

    local_files: int
    local_bytes: int
    remote_files: int
    remote_bytes: int
    thumbnails: int
    quarantined: int
    stored_bytes: int
    """Without what is there twice under different names."""


async def usage(tx: Transaction, server_name: ServerName) -> Usage:
    """Return how much media there is."""
    row = await tx.fetchrow(
        """
        SELECT count(*) FILTER (WHERE server_name = $1 AND digest IS NOT NULL),
               coalesce(sum(size) FILTER (WHERE server_name = $1), 0)::bigint,
               count(*) FILTER (WHERE server_name <> $1 AND digest IS NOT NULL),
               coalesce(sum(size) FILTER (WHERE server_name <> $1), 0)::bigint,
               (SELECT count(*) FROM media_thumbnails),
               count(*) FILTER (WHERE quarantined_by IS NOT NULL),
               (SELECT coalesce(sum(size), 0)::bigint FROM media_blobs)
        FROM media
        """,
        server_name,
    )
    assert row is not None  # noqa: S101  # an aggregate has one row
    return Usage(*row)


async def media_of_uploader(tx: Transaction, user_id: UserId) -> list[Mxc]:
    """Return what a user has uploaded."""
    rows = await tx.fetch("SELECT server_name, media_id FROM media WHERE uploader = $1", user_id)
    return [Mxc(*row) for row in rows]


async def forget_old_media(
    tx: Transaction, server_name: ServerName, local_before: int | None, remote_before: int | None
) -> None:
    """Forget what has not been asked for since, here and elsewhere. What is quarantined is remembered."""
    await tx.execute(
        """
        DELETE FROM media WHERE quarantined_by IS NULL AND digest IS NOT NULL AND (
            (server_name = $1 AND last_used_ts < $2) OR (server_name <> $1 AND last_used_ts < $3)
        )
        """,
        server_name,
        local_before,
        remote_before,
    )


async def forget_excess_media(tx: Transaction, server_name: ServerName, most_bytes: int) -> None:
    """Forget the media of other servers that takes more than so much, what was asked for longest ago first."""
    await tx.execute(
        """
        DELETE FROM media USING (
            SELECT server_name, media_id, sum(size) OVER (ORDER BY last_used_ts DESC, server_name, media_id) AS up_to
            FROM media WHERE server_name <> $1 AND digest IS NOT NULL AND quarantined_by IS NULL
        ) AS kept
        WHERE media.server_name = kept.server_name AND media.media_id = kept.media_id AND kept.up_to > $2
        """,
        server_name,
        most_bytes,
    )


async def quarantine_media(tx: Transaction, names: Sequence[Mxc], by: str, now_ms: int) -> None:
    """Let nobody see some media, nor the same bytes under any other name, nor what has that name later."""
    servers, ids = [mxc.server_name for mxc in names], [mxc.media_id for mxc in names]
    await tx.execute(
        """
        INSERT INTO media (server_name, media_id, created_ts, last_used_ts, needs_token, quarantined_by)
        SELECT server_name, media_id, $4, $4, true, $3 FROM unnest($1::text[], $2::text[]) AS n (server_name, media_id)
        ON CONFLICT (server_name, media_id) DO UPDATE SET quarantined_by = $3
        """,
        servers,
        ids,
        by,
        now_ms,
    )
    await tx.execute(
        """
        UPDATE media_blobs SET quarantined_by = $3
        FROM media, unnest($1::text[], $2::text[]) AS n (server_name, media_id)
        WHERE media.server_name = n.server_name AND media.media_id = n.media_id AND media.digest = media_blobs.digest
        """,
        servers,
        ids,
        by,
    )


async def release_media(tx: Transaction, names: Sequence[Mxc]) -> None:
    """Take back a quarantine."""
    servers, ids = [mxc.server_name for mxc in names], [mxc.media_id for mxc in names]
    await tx.execute(
        """
        UPDATE media_blobs SET quarantined_by = NULL
        FROM media, unnest($1::text[], $2::text[]) AS n (server_name, media_id)
        WHERE media.server_name = n.server_name AND media.media_id = n.media_id AND media.digest = media_blobs.digest
        """,
        servers,
        ids,
    )
    await tx.execute(
        """
        UPDATE media SET quarantined_by = NULL FROM unnest($1::text[], $2::text[]) AS n (server_name, media_id)
        WHERE media.server_name = n.server_name AND media.media_id = n.media_id
        """,
        servers,
        ids,
    )
    # What stood for media that had not been fetched stands for nothing now.
    await tx.execute("DELETE FROM media WHERE digest IS NULL AND expires_ts IS NULL AND quarantined_by IS NULL")


async def erase_media(tx: Transaction, names: Sequence[Mxc], name_digests: Sequence[bytes]) -> tuple[int, list[bytes]]:
    """Forget media and its small images; return how much there was, and the bytes that nothing names any more.

    `name_digests` are those under which small images from elsewhere are kept. A quarantine ends with its media.
    """
    rows = await tx.fetch(
        """
        DELETE FROM media USING unnest($1::text[], $2::text[]) AS n (server_name, media_id)
        WHERE media.server_name = n.server_name AND media.media_id = n.media_id RETURNING digest
        """,
        [mxc.server_name for mxc in names],
        [mxc.media_id for mxc in names],
    )
    digests = [row["digest"] for row in rows if row["digest"] is not None]
    digests += await _forget_thumbnails(tx, digests, name_digests)
    # Who is just naming the same bytes holds their rows.
    await tx.execute(
        "SELECT FROM media_blobs WHERE digest = ANY($1) ORDER BY digest FOR NO KEY UPDATE", sorted(set(digests))
    )
    return len(rows), await doom_if_unnamed(tx, digests)


async def adopt_blobs(tx: Transaction, digests: Sequence[bytes], until_ms: int) -> int:
    """Take note of bytes in the store that no row knows, as claimed until some time; return how many those are.

    How many they hold is not known, and nobody asks: bytes that nothing names are not read.
    """
    rows = await tx.fetch(
        """
        INSERT INTO media_blobs (digest, size, claimed_ts)
        SELECT digest, 0, $2 FROM unnest($1::bytea[]) AS found (digest)
        WHERE NOT EXISTS (SELECT FROM media_blobs b WHERE b.digest = found.digest)
        ON CONFLICT DO NOTHING RETURNING 1
        """,
        list(digests),
        until_ms,
    )
    return len(rows)


async def erase_uploads(tx: Transaction, user_id: UserId) -> None:
    """Forget what a user has uploaded; the next sweep deletes the bytes that nothing else names.

    What is quarantined stays so: its bytes must not come back under another name.
    """
    rows = await tx.fetch(
        """
        DELETE FROM media WHERE uploader = $1 AND quarantined_by IS NULL AND NOT EXISTS (
            SELECT FROM media_blobs b WHERE b.digest = media.digest AND b.quarantined_by IS NOT NULL
        ) RETURNING digest
        """,
        user_id,
    )
    digests = [row["digest"] for row in rows if row["digest"] is not None]
    digests += await _forget_thumbnails(tx, digests, [])
    await tx.execute(
        """
        UPDATE media_blobs b SET claimed_ts = 0
        WHERE digest = ANY($1)
          AND NOT EXISTS (SELECT FROM media WHERE media.digest = b.digest)
          AND NOT EXISTS (SELECT FROM media_thumbnails t WHERE t.digest = b.digest)
        """,
        digests,
    )


async def _forget_thumbnails(tx: Transaction, sources: Sequence[bytes], name_digests: Sequence[bytes]) -> list[bytes]:
    """Forget the small images of bytes that no media has, and those kept under a name; return their bytes' digests."""
    rows = await tx.fetch(
        """
        DELETE FROM media_thumbnails t WHERE (
            source = ANY($1) AND NOT EXISTS (SELECT FROM media WHERE media.digest = t.source)
        ) OR source = ANY($2) RETURNING digest
        """,
        list(sources),
        list(name_digests),
    )
    return [row["digest"] for row in rows if row["digest"] is not None]
