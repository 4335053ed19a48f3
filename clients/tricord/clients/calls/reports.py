"""Reports to those who run the homeserver."""

from __future__ import annotations

from tricord.clients.api import reports as api
from tricord.clients.calls.base import Calls, given
from tricord.protocol.identifiers import EventId, RoomId, UserId


class ReportCalls(Calls):
    """Reporting.

    https://spec.matrix.org/v1.19/client-server-api/#reporting-content
    """

    async def report_event(self, room_id: RoomId, event_id: EventId, reason: str | None = None) -> None:
        """Report an event of a room that we are in."""
        await self.http.call(
            api.ReportEvent, {"room_id": room_id, "event_id": event_id}, body=given({"reason": reason})
        )

    async def report_room(self, room_id: RoomId, reason: str = "") -> None:
        """Report a room; succeeds whether there is one or not."""
        await self.http.call(api.ReportRoom, {"room_id": room_id}, body={"reason": reason})

    async def report_user(self, user_id: UserId, reason: str = "") -> None:
        """Report somebody; succeeds whether they exist or not."""
        await self.http.call(api.ReportUser, {"user_id": user_id}, body={"reason": reason})
