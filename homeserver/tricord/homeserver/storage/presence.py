"""The table of presence: the last word about each user that others were told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tricord.homeserver.storage.database import Transaction
from tricord.protocol.identifiers import RoomId, ServerName, UserId


@dataclass(frozen=True, slots=True)
class Presence:
    """Whether a user is there, since when they have done nothing, and what they say about it."""

    user_id: UserId
    state: str
    status_msg: str | None
    last_active_ts: int
    currently_active: bool
    position: int


_COLUMNS = "user_id, state, status_msg, last_active_ts, currently_active, position"


async def put_presence(tx: Transaction, entries: Sequence[Presence]) -> None:
    """Write the states of some users."""
    await tx.executemany(
        f"""
        INSERT INTO presence ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (user_id) DO UPDATE
        SET state = excluded.state, status_msg = excluded.status_msg, last_active_ts = excluded.last_active_ts,
            currently_active = excluded.currently_active, position = excluded.position
        """,  # noqa: S608 - a constant
        [(e.user_id, e.state, e.status_msg, e.last_active_ts, e.currently_active, e.position) for e in entries],
    )


async def put_offline(tx: Transaction, positions: Mapping[UserId, int], position: int) -> list[UserId]:
    """Write that some users are no longer there, unless something else was written since their last positions.

    Return who they are.
    """
    rows = await tx.fetch(
        """
        UPDATE presence p SET state = 'offline', currently_active = false, position = $3
        FROM unnest($1::text[], $2::bigint[]) AS t (user_id, position)
        WHERE p.user_id = t.user_id AND p.position = t.position AND p.state <> 'offline'
        RETURNING p.user_id
        """,
        list(positions),
        list(positions.values()),
        position,
    )
    return [row[0] for row in rows]


async def presence_of(tx: Transaction, user_ids: Sequence[UserId]) -> list[Presence]:
    """Return the states of some users; those who never had one are absent."""
    rows = await tx.fetch(
        f"SELECT {_COLUMNS} FROM presence WHERE user_id = ANY($1)",  # noqa: S608 - a constant
        list(user_ids),
    )
    return [Presence(*row) for row in rows]


async def presence_between(tx: Transaction, after: int, upto: int, limit: int) -> list[Presence]:
    """Return the states that changed after one position, up to another, the latest first."""
    rows = await tx.fetch(
        f"""
        SELECT {_COLUMNS} FROM presence WHERE position > $1 AND position <= $2
        ORDER BY position DESC LIMIT $3
        """,  # noqa: S608 - a constant
        after,
        upto,
        limit,
    )
    return [Presence(*row) for row in rows]


async def presence_for_newcomers(
    tx: Transaction, room_ids: Sequence[RoomId], own_name: ServerName, after: int
) -> list[tuple[ServerName, Presence]]:
    """Return which servers have shared one of some rooms only since a position with which local users who are there."""
    rows = await tx.fetch(
        """
        SELECT DISTINCT s.server_name, p.user_id, p.state, p.status_msg, p.last_active_ts, p.currently_active,
            p.position
        FROM rooms r JOIN room_servers s USING (room_nid) JOIN room_memberships m USING (room_nid)
            JOIN presence p USING (user_id)
        WHERE r.room_id = ANY($1) AND s.until IS NULL AND m.membership = 'join' AND (s.since > $3 OR m.since > $3)
            AND p.state <> 'offline' AND substr(m.user_id, strpos(m.user_id, ':') + 1) = $2
        """,
        list(room_ids),
        own_name,
        after,
    )
    return [(ServerName(row[0]), Presence(*row[1:])) for row in rows]


async def present_among(tx: Transaction, user_ids: Sequence[UserId], limit: int) -> list[Presence]:
    """Return which of some users are not offline, those who were told of last first."""
    rows = await tx.fetch(
        f"""
        SELECT {_COLUMNS} FROM presence WHERE user_id = ANY($1) AND state <> 'offline'
        ORDER BY position DESC LIMIT $2
        """,  # noqa: S608 - a constant
        list(user_ids),
        limit,
    )
    return [Presence(*row) for row in rows]


async def latest_present(tx: Transaction, limit: int) -> list[Presence]:
    """Return who is not offline, those who were told of last first."""
    rows = await tx.fetch(
        f"SELECT {_COLUMNS} FROM presence WHERE state <> 'offline' ORDER BY position DESC LIMIT $1",  # noqa: S608
        limit,
    )
    return [Presence(*row) for row in rows]


async def users_present(tx: Transaction) -> list[Presence]:
    """Return everybody who is not offline."""
    rows = await tx.fetch(f"SELECT {_COLUMNS} FROM presence WHERE state <> 'offline'")  # noqa: S608 - a constant
    return [Presence(*row) for row in rows]
