"""The table of account data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tricord.homeserver.storage.database import Transaction
from tricord.protocol.identifiers import RoomId, UserId


@dataclass(frozen=True, slots=True)
class AccountDatum:
    """One piece of account data; `room_id` None: of the account as a whole. `content` is JSON."""

    user_id: UserId
    room_id: RoomId | None
    type: str
    content: bytes
    position: int


async def put_account_data(
    tx: Transaction, user_id: UserId, room_id: RoomId | None, data_type: str, content: bytes
) -> int | None:
    """Write a piece and return its position; None, and nothing is written, if the user's account is no more.

    One statement, which is a transaction by itself, or the end of one. The account is locked before the stream, as by
    its deactivation: which therefore deletes all pieces, or else nothing is added.
    """
    position: int | None = await tx.fetchval(
        """
        WITH held AS MATERIALIZED (
            SELECT FROM accounts WHERE user_id = $1 AND NOT deactivated FOR KEY SHARE
        ), taken AS (
            UPDATE stream SET position = position + 1 WHERE (SELECT count(*) FROM held) > 0 RETURNING position
        )
        INSERT INTO account_data (user_id, room_id, type, content, position)
        SELECT $1, $2, $3, $4, position FROM taken
        ON CONFLICT (user_id, room_id, type) DO UPDATE SET content = excluded.content, position = excluded.position
        RETURNING position
        """,
        user_id,
        room_id or "",
        data_type,
        content,
    )
    return position


async def account_data_content(
    tx: Transaction, user_id: UserId, room_id: RoomId | None, data_type: str
) -> bytes | None:
    """Return the content of one piece."""
    content: bytes | None = await tx.fetchval(
        "SELECT content FROM account_data WHERE user_id = $1 AND room_id = $2 AND type = $3",
        user_id,
        room_id or "",
        data_type,
    )
    return content


async def contents_of_users(tx: Transaction, user_ids: Sequence[UserId], data_type: str) -> dict[UserId, bytes]:
    """Return the contents of one global type, for those of the users who have it."""
    rows = await tx.fetch(
        "SELECT user_id, content FROM account_data WHERE user_id = ANY($1) AND room_id = '' AND type = $2",
        list(user_ids),
        data_type,
    )
    return {row[0]: row[1] for row in rows}


async def account_data_of_room(tx: Transaction, user_id: UserId, room_id: RoomId) -> list[tuple[str, bytes]]:
    """Return types and contents of what a user has set for a room."""
    rows = await tx.fetch(
        "SELECT type, content FROM account_data WHERE user_id = $1 AND room_id = $2 ORDER BY type", user_id, room_id
    )
    return [(row[0], row[1]) for row in rows]


async def account_data_changes(tx: Transaction, user_id: UserId, *, after: int, upto: int) -> list[AccountDatum]:
    """Return what a user's account data became after a position and up to another one, in order."""
    rows = await tx.fetch(
        """
        SELECT user_id, nullif(room_id, ''), type, content, position FROM account_data
        WHERE user_id = $1 AND position > $2 AND position <= $3 ORDER BY position
        """,
        user_id,
        after,
        upto,
    )
    return [AccountDatum(*row) for row in rows]


async def lock_account_data(tx: Transaction, user_id: UserId, room_id: RoomId | None, data_type: str) -> None:
    """Let nobody else read this piece in order to change it, until the transaction ends."""
    await tx.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"account_data/{user_id}/{room_id or ''}/{data_type}"
    )


async def delete_account_data(tx: Transaction, user_id: UserId) -> None:
    """Delete all account data of a user."""
    await tx.execute("DELETE FROM account_data WHERE user_id = $1", user_id)


async def account_data_of_types(tx: Transaction, user_id: UserId, types: Sequence[str]) -> list[AccountDatum]:
    """Return what a user has of some types, of the account and of rooms."""
    rows = await tx.fetch(
        """
        SELECT user_id, nullif(room_id, ''), type, content, position FROM account_data
        WHERE user_id = $1 AND type = ANY($2)
        """,
        user_id,
        list(types),
    )
    return [AccountDatum(*row) for row in rows]


async def account_data_in_rooms(
    tx: Transaction, user_id: UserId, room_ids: Sequence[RoomId], *, upto: int
) -> list[AccountDatum]:
    """Return a user's account data of some rooms, in the order in which it was set."""
    rows = await tx.fetch(
        """
        SELECT user_id, room_id, type, content, position FROM account_data
        WHERE user_id = $1 AND room_id = ANY($2) AND position <= $3 ORDER BY position
        """,
        user_id,
        list(room_ids),
        upto,
    )
    return [AccountDatum(*row) for row in rows]


async def account_data_of_account(tx: Transaction, user_id: UserId, *, upto: int) -> list[AccountDatum]:
    """Return what a user has that is about no room."""
    rows = await tx.fetch(
        """
        SELECT user_id, nullif(room_id, ''), type, content, position FROM account_data
        WHERE user_id = $1 AND room_id = '' AND position <= $2 ORDER BY position
        """,
        user_id,
        upto,
    )
    return [AccountDatum(*row) for row in rows]
