"""Routes of receipts and read markers."""

from __future__ import annotations

from typing import Any

from tricord.clients.api.receipts import SendReceipt, SetReadMarkers
from tricord.homeserver.rooms.read_markers import ReadMarkers
from tricord.homeserver.rooms.receipts import FULLY_READ, READ, READ_PRIVATE
from tricord.homeserver.serving.call import Call, Route
from tricord.protocol.identifiers import parse_event_id, parse_room_id
from tricord.protocol.strict_json import JsonObject


class ReceiptsApi:
    """Up to where a user has read."""

    def __init__(self, markers: ReadMarkers) -> None:
        self._markers = markers

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [Route(SendReceipt, self.send), Route(SetReadMarkers, self.set_markers)]

    async def send(self, call: Call[SendReceipt.Body, Any]) -> JsonObject:
        """Put one marker."""
        await self._markers.mark(
            call.requester.user_id,
            parse_room_id(call.path["room_id"]),
            call.path["receipt_type"],
            parse_event_id(call.path["event_id"]),
            call.body.thread_id,
        )
        return {}

    async def set_markers(self, call: Call[SetReadMarkers.Body, Any]) -> JsonObject:
        """Put several markers."""
        markers = {FULLY_READ: call.body.fully_read, READ: call.body.read, READ_PRIVATE: call.body.read_private}
        await self._markers.mark_all(call.requester.user_id, parse_room_id(call.path["room_id"]), markers)
        return {}
