"""The table of events that are sent later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tricord.homeserver.storage.database import Record, Transaction
from tricord.protocol.identifiers import DeviceId, EventId, RoomId, UserId

Outcome = Literal["send", "cancel", "error"]
Reason = Literal["action", "delay"]


@dataclass(frozen=True, slots=True)
class DelayedEvent:
    """An event that waits for its time, or did."""

    delay_id: str
    user_id: UserId
    device_id: DeviceId | None
    room_id: RoomId
    type: str
    state_key: str | None
    content: bytes
    delay_ms: int
    running_since_ts: int
    finalised_ts: int | None = None
    outcome: Outcome | None = None
    reason: Reason | None = None
    event_id: EventId | None = None
    error: bytes | None = None

    @property
    def send_ts(self) -> int:
        """Return when its time is."""
        return self.running_since_ts + self.delay_ms


@dataclass(frozen=True, slots=True)
class DelayedPage:
    """Which of a user's delayed events are wanted."""

    order_by: str
    backward: bool
    # The place to go on from: a time, and the id of the last one before.
    start: tuple[int, str]
    limit: int
    finalised: bool | None = None
    room_id: str | None = None
    type: str | None = None
    outcome: str | None = None
    reason: str | None = None


_COLUMNS = (
    "delay_id, user_id, device_id, room_id, type, state_key, content, delay_ms, running_since_ts, finalised_ts, "
    "outcome, reason, event_id, error"
)


async def put_delayed_event(tx: Transaction, event: DelayedEvent, request: bytes | None, *, most: int) -> str | None:
    """Keep an event and return its id, or that of the same request before; None if the user has too many waiting."""
    # One user's requests go one after the other, or two could both be the last one that is allowed.
    await tx.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 1))", f"delayed_events/{event.user_id}")
    known: str | None = await tx.fetchval("SELECT delay_id FROM delayed_events WHERE request = $1", request)
    if known is not None:
        return known
    waiting: int = await tx.fetchval(
        "SELECT count(*) FROM delayed_events WHERE user_id = $1 AND finalised_ts IS NULL", event.user_id
    )
    if waiting >= most:
        return None
    await tx.execute(
        """
        INSERT INTO delayed_events
            (delay_id, user_id, device_id, room_id, type, state_key, content, request,
             delay_ms, running_since_ts, send_ts)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9::bigint, $10::bigint, $10::bigint + $9::bigint)
        """,
        event.delay_id,
        event.user_id,
        event.device_id,
        event.room_id,
        event.type,
        event.state_key,
        event.content,
        request,
        event.delay_ms,
        event.running_since_ts,
    )
    return event.delay_id


async def delayed_event(tx: Transaction, delay_id: str) -> DelayedEvent | None:
    """Return an event by its id."""
    row = await tx.fetchrow(f"SELECT {_COLUMNS} FROM delayed_events WHERE delay_id = $1", delay_id)  # noqa: S608 - a constant
    return None if row is None else _event(row)


async def delayed_events_of(tx: Transaction, user_id: UserId, page: DelayedPage) -> list[tuple[int, DelayedEvent]]:
    """Return some of a user's events, each with the time that it is ordered by."""
    after = "<" if page.backward else ">"
    direction = "DESC" if page.backward else "ASC"
    rows = await tx.fetch(
        f"""
        SELECT * FROM (
            SELECT {_COLUMNS}, CASE $2 WHEN 'running_since' THEN running_since_ts
                WHEN 'origin_server_ts' THEN coalesce(finalised_ts, send_ts) ELSE send_ts END AS ordinal
            FROM delayed_events WHERE user_id = $1
        ) AS own
        WHERE (ordinal, delay_id) {after} ($3, $4)
            AND ($5::boolean IS NULL OR (finalised_ts IS NOT NULL) = $5)
            AND ($6::text IS NULL OR room_id = $6) AND ($7::text IS NULL OR type = $7)
            AND ($8::text IS NULL OR outcome = $8) AND ($9::text IS NULL OR reason = $9)
        ORDER BY ordinal {direction}, delay_id {direction} LIMIT $10
        """,  # noqa: S608 - constants
        user_id,
        page.order_by,
        *page.start,
        page.finalised,
        page.room_id,
        page.type,
        page.outcome,
        page.reason,
        page.limit,
    )
    return [(row["ordinal"], _event(row)) for row in rows]


async def next_send_ts(tx: Transaction) -> int | None:
    """Return when the next event is to be sent."""
    ts: int | None = await tx.fetchval("SELECT min(send_ts) FROM delayed_events WHERE finalised_ts IS NULL")
    return ts


async def next_send_ts_of(tx: Transaction, user_id: UserId) -> int | None:
    """Return when the next event of a user is to be sent."""
    ts: int | None = await tx.fetchval(
        "SELECT min(send_ts) FROM delayed_events WHERE user_id = $1 AND finalised_ts IS NULL", user_id
    )
    return ts


async def lease_due_events(tx: Transaction, now_ts: int, until_ts: int, limit: int) -> list[DelayedEvent]:
    """Return events whose time has come, and keep other processes from them for a while."""
    rows = await tx.fetch(
        f"""
        UPDATE delayed_events SET leased_until_ts = $2 WHERE delay_id = ANY(ARRAY(
            SELECT delay_id FROM delayed_events WHERE finalised_ts IS NULL AND send_ts <= $1 AND leased_until_ts <= $1
            ORDER BY send_ts LIMIT $3 FOR UPDATE SKIP LOCKED
        )) RETURNING {_COLUMNS}
        """,  # noqa: S608 - a constant
        now_ts,
        until_ts,
        limit,
    )
    return sorted((_event(row) for row in rows), key=lambda event: event.send_ts)


async def lease_event(tx: Transaction, delay_id: str, now_ts: int, until_ts: int) -> bool:
    """Keep others from an event for a while; return False if it does not wait any more, or somebody is at it."""
    return (
        await tx.fetchval(
            """
        UPDATE delayed_events SET leased_until_ts = $3
        WHERE delay_id = $1 AND finalised_ts IS NULL AND leased_until_ts <= $2 RETURNING true
        """,
            delay_id,
            now_ts,
            until_ts,
        )
        is True
    )


async def free_event(tx: Transaction, delay_id: str) -> None:
    """Let others at an event again."""
    await tx.execute("UPDATE delayed_events SET leased_until_ts = 0 WHERE delay_id = $1", delay_id)


async def restart_event(tx: Transaction, delay_id: str, now_ts: int) -> bool:
    """Let an event wait anew; return False if it does not wait any more, or is being sent."""
    return (
        await tx.fetchval(
            """
        UPDATE delayed_events SET running_since_ts = $2, send_ts = $2::bigint + delay_ms
        WHERE delay_id = $1 AND finalised_ts IS NULL AND leased_until_ts <= $2 RETURNING true
        """,
            delay_id,
            now_ts,
        )
        is True
    )


async def finalise_events(
    tx: Transaction,
    delay_ids: Sequence[str],
    now_ts: int,
    outcome: Outcome,
    reason: Reason,
    *,
    event_id: EventId | None = None,
    error: bytes | None = None,
) -> None:
    """Note what became of events."""
    await tx.execute(
        """
        UPDATE delayed_events
        SET finalised_ts = $2, outcome = $3, reason = $4, event_id = $5, error = $6, leased_until_ts = 0
        WHERE delay_id = ANY($1) AND finalised_ts IS NULL
        """,
        list(delay_ids),
        now_ts,
        outcome,
        reason,
        event_id,
        error,
    )


async def prune_delayed_events(tx: Transaction, before_ts: int, most_per_user: int) -> None:
    """Forget what became of events long ago, and of all but the last ones of each user."""
    await tx.execute(
        """
        DELETE FROM delayed_events WHERE finalised_ts < $1 OR delay_id IN (
            SELECT delay_id FROM (
                SELECT delay_id, row_number() OVER (PARTITION BY user_id ORDER BY finalised_ts DESC) AS number
                FROM delayed_events WHERE finalised_ts IS NOT NULL
            ) AS numbered WHERE number > $2
        )
        """,
        before_ts,
        most_per_user,
    )


def _event(row: Record) -> DelayedEvent:
    return DelayedEvent(*[row[name] for name in _COLUMNS.split(", ")])
