"""The tables of backups of keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tricord.homeserver.storage.database import Transaction
from tricord.protocol.identifiers import UserId


@dataclass(frozen=True, slots=True)
class Backup:
    """A version of a user's backup."""

    version: int
    algorithm: str
    auth_data: bytes
    etag: int
    count: int


class BackedUpKey(NamedTuple):
    """The key of a session; `session_data` is JSON."""

    room_id: str
    session_id: str
    is_verified: bool
    first_message_index: int
    forwarded_count: int
    session_data: bytes


async def insert_backup(tx: Transaction, user_id: UserId, algorithm: str, auth_data: bytes) -> int:
    """Begin a new backup, and return its version; the transaction has locked the user's account."""
    version: int = await tx.fetchval(
        """
        INSERT INTO key_backups (user_id, version, algorithm, auth_data)
        SELECT $1, coalesce(max(version), 0) + 1, $2, $3 FROM key_backups WHERE user_id = $1 RETURNING version
        """,
        user_id,
        algorithm,
        auth_data,
    )
    return version


async def backup(tx: Transaction, user_id: UserId, version: int | None, *, lock: bool = False) -> Backup | None:
    """Return a version of a backup, the newest if none is named; None if there is none, or not any more."""
    row = await tx.fetchrow(
        "SELECT version, algorithm, auth_data, etag, count FROM key_backups "  # noqa: S608 - constants
        "WHERE user_id = $1 AND ($2::bigint IS NULL OR version = $2) AND NOT is_deleted "
        "ORDER BY version DESC LIMIT 1" + (" FOR UPDATE" if lock else ""),
        user_id,
        version,
    )
    return None if row is None else Backup(*row)


async def set_auth_data(tx: Transaction, user_id: UserId, version: int, auth_data: bytes) -> None:
    """Change how a backup can be trusted."""
    await tx.execute(
        "UPDATE key_backups SET auth_data = $3 WHERE user_id = $1 AND version = $2", user_id, version, auth_data
    )


async def delete_backup(tx: Transaction, user_id: UserId, version: int) -> bool:
    """Delete a backup with its keys; return whether there ever was one of this version."""
    known = await tx.fetchval(
        """
        UPDATE key_backups SET is_deleted = true, auth_data = '{}', count = 0
        WHERE user_id = $1 AND version = $2 RETURNING true
        """,
        user_id,
        version,
    )
    await tx.execute("DELETE FROM backed_up_keys WHERE user_id = $1 AND version = $2", user_id, version)
    return bool(known)


async def put_better_keys(tx: Transaction, user_id: UserId, version: int, keys: Sequence[BackedUpKey]) -> Backup:
    """Write those of the keys that are better than what is there; return the backup, which the transaction has locked.

    A key that was verified is better; of two, the one that decrypts more; of two, the one that went fewer ways.
    """
    rows = await tx.fetch(
        """
        WITH put AS (
            INSERT INTO backed_up_keys AS k (
                user_id, version, room_id, session_id, is_verified, first_message_index, forwarded_count, session_data
            )
            SELECT $1, $2, * FROM unnest($3::text[], $4::text[], $5::boolean[], $6::bigint[], $7::bigint[], $8::bytea[])
            ON CONFLICT (user_id, version, room_id, session_id) DO UPDATE SET
                is_verified = excluded.is_verified, first_message_index = excluded.first_message_index,
                forwarded_count = excluded.forwarded_count, session_data = excluded.session_data
            WHERE (NOT excluded.is_verified, excluded.first_message_index, excluded.forwarded_count)
                < (NOT k.is_verified, k.first_message_index, k.forwarded_count)
            RETURNING (xmax = 0) AS is_new
        )
        UPDATE key_backups SET
            etag = etag + (SELECT (count(*) > 0)::integer FROM put),
            count = count + (SELECT count(*) FROM put WHERE is_new)
        WHERE user_id = $1 AND version = $2 RETURNING version, algorithm, auth_data, etag, count
        """,
        user_id,
        version,
        [key.room_id for key in keys],
        [key.session_id for key in keys],
        [key.is_verified for key in keys],
        [key.first_message_index for key in keys],
        [key.forwarded_count for key in keys],
        [key.session_data for key in keys],
    )
    return Backup(*rows[0])


async def backed_up_keys(
    tx: Transaction, user_id: UserId, version: int, room_id: str | None, session_id: str | None
) -> list[BackedUpKey]:
    """Return the keys in a backup: all, those of a room, or the one of a session."""
    rows = await tx.fetch(
        """
        SELECT room_id, session_id, is_verified, first_message_index, forwarded_count, session_data
        FROM backed_up_keys WHERE user_id = $1 AND version = $2
            AND ($3::text IS NULL OR room_id = $3) AND ($4::text IS NULL OR session_id = $4)
        """,
        user_id,
        version,
        room_id,
        session_id,
    )
    return [BackedUpKey(*row) for row in rows]


async def delete_backed_up_keys(
    tx: Transaction, user_id: UserId, version: int, room_id: str | None, session_id: str | None
) -> Backup:
    """Delete the same from a backup, which the transaction has locked; return the backup."""
    rows = await tx.fetch(
        """
        WITH gone AS (
            DELETE FROM backed_up_keys WHERE user_id = $1 AND version = $2
                AND ($3::text IS NULL OR room_id = $3) AND ($4::text IS NULL OR session_id = $4) RETURNING 1
        )
        UPDATE key_backups SET
            etag = etag + (SELECT (count(*) > 0)::integer FROM gone), count = count - (SELECT count(*) FROM gone)
        WHERE user_id = $1 AND version = $2 RETURNING version, algorithm, auth_data, etag, count
        """,
        user_id,
        version,
        room_id,
        session_id,
    )
    return Backup(*rows[0])


async def delete_all_backups(tx: Transaction, user_id: UserId) -> None:
    """Delete the backups of a user who is no more."""
    await tx.execute("DELETE FROM key_backups WHERE user_id = $1", user_id)
