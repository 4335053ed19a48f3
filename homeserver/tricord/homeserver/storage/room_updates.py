"""The table of what the rooms of users must still be told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tricord.homeserver.storage.database import Transaction
from tricord.protocol.identifiers import UserId

Act = Literal["profile", "leave"]


@dataclass(frozen=True, slots=True)
class RoomUpdate:
    """One user's rooms to tell."""

    user_id: UserId
    act: Act
    revision: int


async def request_room_update(tx: Transaction, user_id: UserId, act: Act) -> None:
    """Ask for an act in all rooms of a user; who leaves needs no other one."""
    await tx.execute(
        """
        INSERT INTO room_updates AS old (user_id, act) VALUES ($1, $2)
        ON CONFLICT (user_id) DO UPDATE SET revision = old.revision + 1,
            act = CASE WHEN old.act = 'leave' THEN 'leave' ELSE excluded.act END
        """,
        user_id,
        act,
    )


async def lease_room_updates(tx: Transaction, *, now_ts: int, until_ts: int, limit: int) -> list[RoomUpdate]:
    """Return some that no process is at, and keep the others from them until `until_ts`."""
    rows = await tx.fetch(
        """
        UPDATE room_updates SET leased_until_ts = $2 WHERE user_id = ANY(ARRAY(
            SELECT user_id FROM room_updates WHERE leased_until_ts <= $1 LIMIT $3 FOR UPDATE SKIP LOCKED
        )) RETURNING user_id, act, revision
        """,
        now_ts,
        until_ts,
        limit,
    )
    return [RoomUpdate(*row) for row in rows]


async def finish_room_update(tx: Transaction, update: RoomUpdate) -> bool:
    """Strike one off; return False, and free it, if it was asked for again meanwhile."""
    if await tx.fetchval(
        "DELETE FROM room_updates WHERE user_id = $1 AND revision = $2 RETURNING true", update.user_id, update.revision
    ):
        return True
    await tx.execute("UPDATE room_updates SET leased_until_ts = 0 WHERE user_id = $1", update.user_id)
    return False
