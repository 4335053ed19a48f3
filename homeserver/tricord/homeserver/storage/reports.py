"""SQL of `reports`."""

from __future__ import annotations

from dataclasses import dataclass

from tricord.homeserver.storage.database import Transaction
from tricord.protocol.identifiers import EventId, RoomId, UserId


@dataclass(frozen=True, slots=True)
class Report:
    """What somebody reported: an event, a room or a user."""

    report_id: int
    reported_ts: int
    reporter: UserId
    about_user: UserId | None
    room_id: RoomId | None
    event_id: EventId | None
    event_json: bytes | None
    reason: str
    closed_ts: int | None


_COLUMNS = "report_id, reported_ts, reporter, about_user, room_id, event_id, event_json, reason, closed_ts"


async def insert_report(
    tx: Transaction,
    reporter: UserId,
    reason: str,
    now_ms: int,
    *,
    about_user: UserId | None = None,
    room_id: RoomId | None = None,
    event_id: EventId | None = None,
    event_json: bytes | None = None,
) -> int:
    """Add a report, and return its number."""
    report_id: int = await tx.fetchval(
        """
        INSERT INTO reports (reporter, reason, reported_ts, about_user, room_id, event_id, event_json)
        VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING report_id
        """,
        reporter,
        # PostgreSQL's text holds no NUL.
        reason.replace("\0", "\ufffd"),
        now_ms,
        about_user,
        room_id,
        event_id,
        event_json,
    )
    return report_id


async def reports_after(tx: Transaction, report_id: int, limit: int, *, closed_too: bool) -> list[Report]:
    """Return the reports after one of them, oldest first."""
    rows = await tx.fetch(
        f"SELECT {_COLUMNS} FROM reports WHERE report_id > $1 AND (closed_ts IS NULL OR $3) "  # noqa: S608  # constant
        "ORDER BY report_id LIMIT $2",
        report_id,
        limit,
        closed_too,
    )
    return [Report(*row) for row in rows]


async def report_numbered(tx: Transaction, report_id: int) -> Report | None:
    """Return a report."""
    row = await tx.fetchrow(f"SELECT {_COLUMNS} FROM reports WHERE report_id = $1", report_id)  # noqa: S608  # constant
    return None if row is None else Report(*row)


async def close_report(tx: Transaction, report_id: int, now_ms: int) -> bool:
    """Note that somebody has dealt with a report; return whether there is one."""
    return bool(
        await tx.fetchval(
            "UPDATE reports SET closed_ts = coalesce(closed_ts, $2) WHERE report_id = $1 RETURNING true",
            report_id,
            now_ms,
        )
    )
