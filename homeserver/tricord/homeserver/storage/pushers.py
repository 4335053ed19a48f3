"""SQL of `pushers`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import orjson

from tricord.homeserver.storage.database import Transaction
from tricord.protocol.identifiers import RoomId, UserId
from tricord.protocol.strict_json import JsonObject

_SELECT = """
    SELECT user_id, app_id, pushkey, session_id, kind, app_display_name, device_display_name, profile_tag, lang, data,
        pushkey_ts, position
    FROM pushers
"""


@dataclass(frozen=True, slots=True)
class Pusher:
    """Somewhere a user wants to be notified."""

    user_id: UserId
    app_id: str
    pushkey: str
    session_id: int
    kind: str
    app_display_name: str
    device_display_name: str
    profile_tag: str | None
    lang: str
    data: JsonObject
    pushkey_ts: int
    position: int
    """Up to where they have been notified."""

    @property
    def name(self) -> tuple[UserId, str, str]:
        """What tells it from others."""
        return self.user_id, self.app_id, self.pushkey


async def put_pusher(tx: Transaction, pusher: Pusher, *, replace_others: bool) -> list[UserId]:
    """Write a pusher; return the others whose pusher with this app and key that removed, if it shall."""
    others: list[UserId] = []
    if replace_others:
        rows = await tx.fetch(
            "DELETE FROM pushers WHERE app_id = $1 AND pushkey = $2 AND user_id <> $3 RETURNING user_id",
            pusher.app_id,
            pusher.pushkey,
            pusher.user_id,
        )
        others = [row[0] for row in rows]
    await tx.execute(
        """
        INSERT INTO pushers (
            user_id, app_id, pushkey, session_id, kind, app_display_name, device_display_name, profile_tag, lang, data,
            pushkey_ts, position
        )
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
        ON CONFLICT (user_id, app_id, pushkey) DO UPDATE SET
            session_id = excluded.session_id, kind = excluded.kind, app_display_name = excluded.app_display_name,
            device_display_name = excluded.device_display_name, profile_tag = excluded.profile_tag,
            lang = excluded.lang, data = excluded.data, pushkey_ts = excluded.pushkey_ts
        """,
        pusher.user_id,
        pusher.app_id,
        pusher.pushkey,
        pusher.session_id,
        pusher.kind,
        pusher.app_display_name,
        pusher.device_display_name,
        pusher.profile_tag,
        pusher.lang,
        orjson.dumps(pusher.data),
        pusher.pushkey_ts,
        pusher.position,
    )
    return others


async def delete_pusher(tx: Transaction, user_id: UserId, app_id: str, pushkey: str) -> None:
    """Remove a pusher, if it is there."""
    await tx.execute(
        "DELETE FROM pushers WHERE user_id = $1 AND app_id = $2 AND pushkey = $3", user_id, app_id, pushkey
    )


async def pushers_of(tx: Transaction, user_ids: Collection[UserId]) -> list[Pusher]:
    """Return the pushers of some users, the oldest first."""
    rows = await tx.fetch(f"{_SELECT} WHERE user_id = ANY($1) ORDER BY pushkey_ts, app_id, pushkey", list(user_ids))
    return [_pusher(row) for row in rows]


async def all_pushers(tx: Transaction) -> list[Pusher]:
    """Return the pushers of all users."""
    return [_pusher(row) for row in await tx.fetch(_SELECT)]


async def note_pushed(tx: Transaction, progress: Sequence[tuple[UserId, str, str, int]]) -> None:
    """Note up to where the users (user, app, key, position) have been notified."""
    await tx.execute(
        """
        UPDATE pushers p SET position = t.position
        FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[]) AS t (user_id, app_id, pushkey, position)
        WHERE p.user_id = t.user_id AND p.app_id = t.app_id AND p.pushkey = t.pushkey AND p.position < t.position
        """,
        *(list(column) for column in zip(*progress, strict=True)),
    )


async def newest_event_nids(tx: Transaction, room_ids: Collection[RoomId], before: int, limit: int) -> list[int]:
    """Return the numbers of the newest events of some rooms together, before a position, newest first."""
    rows = await tx.fetch(
        """
        SELECT newest.event_nid
        FROM rooms r CROSS JOIN LATERAL (
            SELECT e.event_nid, e.position FROM events e
            WHERE e.room_nid = r.room_nid AND e.position < $2 AND e.backfill_rank = 0
                AND NOT e.rejected AND NOT e.soft_failed
            ORDER BY e.position DESC LIMIT $3
        ) newest
        WHERE r.room_id = ANY($1) ORDER BY newest.position DESC LIMIT $3
        """,
        list(room_ids),
        before,
        limit,
    )
    return [row[0] for row in rows]


def _pusher(row: Sequence[object]) -> Pusher:
    values = list(row)
    values[9] = orjson.loads(values[9])  # type: ignore[arg-type]  # the column is bytea
    return Pusher(*values)  # type: ignore[arg-type]  # the columns are in this order
