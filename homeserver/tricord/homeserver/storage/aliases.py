"""SQL of `room_aliases` and `published_rooms`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tricord.homeserver.storage.database import Transaction
from tricord.protocol.identifiers import RoomAlias, RoomId, UserId

# A reservation this old belongs to a room that was never finished.
_RESERVATION_MS = 60_000


@dataclass(frozen=True, slots=True)
class StoredAlias:
    """An alias of this server; `room_id` is None while its room is being created."""

    alias: RoomAlias
    room_id: RoomId | None
    creator: UserId


async def alias_named(tx: Transaction, alias: RoomAlias) -> StoredAlias | None:
    """Return the alias, if it is taken."""
    row = await tx.fetchrow("SELECT alias, room_id, creator FROM room_aliases WHERE alias = $1", alias)
    return None if row is None else StoredAlias(row["alias"], row["room_id"], row["creator"])


async def rooms_of_aliases(tx: Transaction, aliases: Sequence[RoomAlias]) -> dict[RoomAlias, RoomId]:
    """Map those of the aliases that stand for a room to it."""
    rows = await tx.fetch(
        "SELECT alias, room_id FROM room_aliases WHERE alias = ANY($1) AND room_id IS NOT NULL", list(aliases)
    )
    return {row["alias"]: row["room_id"] for row in rows}


async def aliases_of_room(tx: Transaction, room_id: RoomId) -> list[RoomAlias]:
    """Return the aliases that stand for the room, oldest first."""
    rows = await tx.fetch("SELECT alias FROM room_aliases WHERE room_id = $1 ORDER BY created_ts, alias", room_id)
    return [row["alias"] for row in rows]


async def add_alias(tx: Transaction, alias: RoomAlias, room_id: RoomId | None, creator: UserId, now_ms: int) -> bool:
    """Take the alias for a room, or reserve it (None); say whether it was free."""
    taken = await tx.fetchval(
        """
        INSERT INTO room_aliases (alias, room_id, creator, created_ts) VALUES ($1, $2, $3, $4)
        ON CONFLICT (alias) DO UPDATE SET room_id = $2, creator = $3, created_ts = $4
            WHERE room_aliases.room_id IS NULL AND room_aliases.created_ts < $4 - $5
        RETURNING true
        """,
        alias,
        room_id,
        creator,
        now_ms,
        _RESERVATION_MS,
    )
    return bool(taken)


async def settle_alias(tx: Transaction, alias: RoomAlias, room_id: RoomId, creator: UserId) -> None:
    """Let a reserved alias stand for the room that has been created."""
    await tx.execute(
        "UPDATE room_aliases SET room_id = $2 WHERE alias = $1 AND room_id IS NULL AND creator = $3",
        alias,
        room_id,
        creator,
    )


async def drop_reservation(tx: Transaction, alias: RoomAlias, creator: UserId) -> None:
    """Free an alias whose room was not created."""
    await tx.execute("DELETE FROM room_aliases WHERE alias = $1 AND room_id IS NULL AND creator = $2", alias, creator)


async def remove_alias(tx: Transaction, alias: RoomAlias) -> bool:
    """Take the alias away; say whether it was there."""
    return bool(await tx.fetchval("DELETE FROM room_aliases WHERE alias = $1 RETURNING true", alias))


async def move_room_names(tx: Transaction, old: RoomId, new: RoomId, by: UserId, now_ms: int) -> None:
    """Let the aliases of a room stand for another one, and that one take its place in the directory."""
    await tx.execute("UPDATE room_aliases SET room_id = $2 WHERE room_id = $1", old, new)
    if await tx.fetchval("DELETE FROM published_rooms WHERE room_id = $1 RETURNING true", old):
        await publish_room(tx, new, by, now_ms)


async def publish_room(tx: Transaction, room_id: RoomId, by: UserId, now_ms: int) -> None:
    """Put the room into the directory."""
    await tx.execute(
        "INSERT INTO published_rooms (room_id, published_by, published_ts) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        room_id,
        by,
        now_ms,
    )


async def unpublish_room(tx: Transaction, room_id: RoomId) -> None:
    """Take the room out of the directory."""
    await tx.execute("DELETE FROM published_rooms WHERE room_id = $1", room_id)


async def is_published(tx: Transaction, room_id: RoomId) -> bool:
    """Say whether the room is in the directory."""
    return bool(await tx.fetchval("SELECT true FROM published_rooms WHERE room_id = $1", room_id))


async def published_rooms(tx: Transaction) -> list[RoomId]:
    """Return every room in the directory."""
    return [row["room_id"] for row in await tx.fetch("SELECT room_id FROM published_rooms")]
