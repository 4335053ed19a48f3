"""SQL of server notices."""

from __future__ import annotations

from dataclasses import dataclass

from tricord.homeserver.storage.database import Transaction
from tricord.protocol.identifiers import RoomId, UserId


@dataclass(frozen=True, slots=True)
class Notice:
    """What is to be sent to a user, or (None) to all after `done_upto`; `content` is JSON."""

    notice_id: int
    user_id: UserId | None
    content: bytes
    done_upto: str


async def put_notice(tx: Transaction, user_id: UserId | None, content: bytes) -> None:
    """Have something sent to a user, or to everybody."""
    await tx.execute("INSERT INTO server_notices (user_id, content) VALUES ($1, $2)", user_id, content)


async def lease_notice(tx: Transaction, *, now_ts: int, until_ts: int) -> Notice | None:
    """Return the oldest notice that no process is at, and keep the others from it until `until_ts`."""
    row = await tx.fetchrow(
        """
        UPDATE server_notices SET leased_until_ts = $2 WHERE notice_id = (
            SELECT notice_id FROM server_notices WHERE leased_until_ts <= $1
            ORDER BY notice_id LIMIT 1 FOR UPDATE SKIP LOCKED
        ) RETURNING notice_id, user_id, content, done_upto
        """,
        now_ts,
        until_ts,
    )
    return None if row is None else Notice(*row)


async def note_progress(tx: Transaction, notice_id: int, done_upto: str, until_ts: int) -> None:
    """Note how far a notice to everybody has got, and keep it for longer."""
    await tx.execute(
        "UPDATE server_notices SET done_upto = $2, leased_until_ts = $3 WHERE notice_id = $1",
        notice_id,
        done_upto,
        until_ts,
    )


async def finish_notice(tx: Transaction, notice_id: int) -> None:
    """Strike a notice off."""
    await tx.execute("DELETE FROM server_notices WHERE notice_id = $1", notice_id)


async def notice_room_of(tx: Transaction, user_id: UserId) -> RoomId | None:
    """Return the room in which a user gets notices."""
    room_id: RoomId | None = await tx.fetchval("SELECT room_id FROM server_notice_rooms WHERE user_id = $1", user_id)
    return room_id


async def put_notice_room(tx: Transaction, user_id: UserId, room_id: RoomId, *, instead_of: RoomId | None) -> RoomId:
    """Let a user get notices in a room, unless they get them by now in another; return where they do."""
    kept: RoomId = await tx.fetchval(
        """
        INSERT INTO server_notice_rooms AS r (user_id, room_id) VALUES ($1, $2)
        ON CONFLICT (user_id) DO UPDATE SET room_id = CASE WHEN r.room_id = $3 THEN excluded.room_id ELSE r.room_id END
        RETURNING room_id
        """,
        user_id,
        room_id,
        instead_of,
    )
    return kept
