"""Routes of reports."""

from __future__ import annotations

from typing import Any

from tricord.clients.api.reports import ReportEvent, ReportRoom, ReportUser
from tricord.homeserver.moderation.reports import Reports
from tricord.homeserver.serving.call import Call, Route
from tricord.protocol.identifiers import EventId, parse_room_id, parse_user_id
from tricord.protocol.strict_json import JsonObject


class ReportsApi:
    """Reporting events, rooms and users."""

    def __init__(self, reports: Reports) -> None:
        self._reports = reports

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [Route(ReportEvent, self.event), Route(ReportRoom, self.room), Route(ReportUser, self.user)]

    async def event(self, call: Call[ReportEvent.Body, Any]) -> JsonObject:
        """Take in a report of an event."""
        room_id, event_id = parse_room_id(call.path["room_id"]), EventId(call.path["event_id"])
        await self._reports.of_event(call.requester.user_id, room_id, event_id, call.body.reason or "")
        return {}

    async def room(self, call: Call[ReportRoom.Body, Any]) -> JsonObject:
        """Take in a report of a room."""
        await self._reports.of_room(call.requester.user_id, parse_room_id(call.path["room_id"]), call.body.reason)
        return {}

    async def user(self, call: Call[ReportUser.Body, Any]) -> JsonObject:
        """Take in a report of a user."""
        await self._reports.of_user(call.requester.user_id, parse_user_id(call.path["user_id"]), call.body.reason)
        return {}
