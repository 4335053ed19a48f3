"""What users report to those who run the server.

https://spec.matrix.org/v1.19/client-server-api/#reporting-content

Reports of rooms and of users are kept whether these exist or not, by the same way and with the same answer, so that
neither tells anything.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import structlog

from tricord.homeserver.clock import Clock
from tricord.homeserver.rooms.memberships import Memberships
from tricord.homeserver.rooms.timeline import Timeline
from tricord.homeserver.rooms.visibility import Visibility
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.reports import Report, close_report, insert_report, report_numbered, reports_after
from tricord.protocol.errors import NotFound
from tricord.protocol.identifiers import EventId, RoomId, UserId

_PAGE = 200

_logger = structlog.get_logger(__name__)


class Reports:
    """Takes in what users report."""

    def __init__(
        self, database: Database, memberships: Memberships, timeline: Timeline, visibility: Visibility, clock: Clock
    ) -> None:
        self._database = database
        self._memberships = memberships
        self._timeline = timeline
        self._visibility = visibility
        self._clock = clock

    async def of_event(self, reporter: UserId, room_id: RoomId, event_id: EventId, reason: str) -> None:
        """Take in a report of an event; NotFound unless the reporter is in the room and can see it."""
        stored = None
        if room_id in await self._memberships.joined_rooms(reporter):
            stored = await self._timeline.event(event_id)
        if stored is None or stored.event.room_id != room_id or not await self._visibility.visible(reporter, [stored]):
            raise NotFound("there is no such event, or you are not in its room")
        event = stored.event
        report_id = await self._database.run(
            insert_report,
            reporter,
            reason,
            self._clock.now_ms(),
            about_user=event.sender,
            room_id=room_id,
            event_id=event_id,
            event_json=event.json,
        )
        _logger.info("an event was reported", report=report_id, room_id=room_id, event_id=event_id)

    async def of_room(self, reporter: UserId, room_id: RoomId, reason: str) -> None:
        """Take in a report of a room."""
        report_id = await self._database.run(insert_report, reporter, reason, self._clock.now_ms(), room_id=room_id)
        _logger.info("a room was reported", report=report_id, room_id=room_id)

    async def of_user(self, reporter: UserId, user_id: UserId, reason: str) -> None:
        """Take in a report of a user."""
        report_id = await self._database.run(insert_report, reporter, reason, self._clock.now_ms(), about_user=user_id)
        _logger.info("a user was reported", report=report_id, user_id=user_id)


class ReportDesk:
    """Where those who run the server go through reports."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def reports(self, *, closed_too: bool = False) -> AsyncIterator[Report]:
        """Go through the reports, oldest first."""
        after = 0
        while page := await self._database.read(reports_after, after, _PAGE, closed_too=closed_too):
            for report in page:
                yield report
            after = page[-1].report_id

    async def report(self, report_id: int) -> Report:
        """Return a report; raise NotFound if there is none."""
        found = await self._database.read(report_numbered, report_id)
        if found is None:
            raise NotFound(f"there is no report {report_id}")
        return found

    async def close(self, report_id: int) -> None:
        """Note that a report has been dealt with."""
        if not await self._database.run(close_report, report_id, self._clock.now_ms()):
            raise NotFound(f"there is no report {report_id}")
