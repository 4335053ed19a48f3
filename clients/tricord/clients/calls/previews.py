"""Looking into rooms without joining them."""

from __future__ import annotations

from typing import Any

from tricord.clients.api import previews as api
from tricord.clients.calls.base import Calls
from tricord.protocol.identifiers import EventId, RoomId


class PreviewCalls(Calls):
    """Peeking.

    https://spec.matrix.org/v1.19/client-server-api/#room-previews
    """

    async def peek(self, room_id: RoomId, *, limit: int = 20) -> api.PeekIntoRoom.Response:
        """Return the state of a room that may be read, and its newest events."""
        endpoint = api.PeekIntoRoom
        return await self.http.typed(endpoint, endpoint.Response, {"room_id": room_id}, query={"limit": limit})

    async def follow_room(
        self, room_id: RoomId | None, *, start: str | None = None, timeout_seconds: float = 30
    ) -> api.EventsChunk:
        """Wait for events of a room that may be read, or of all that we are in; its `end` is the next `start`."""
        query = {"room_id": room_id, "from": start, "timeout": int(timeout_seconds * 1000)}
        return await self.http.typed(api.FollowEvents, api.EventsChunk, query=query)

    async def initial_sync(self, *, limit: int = 10, archived: bool = False) -> api.InitialSync.Response:
        """Return all rooms that we are in, as was done before there was `sync`; `archived`: those that we left, too."""
        query = {"limit": limit, "archived": archived}
        return await self.http.typed(api.InitialSync, api.InitialSync.Response, query=query)

    async def event_alone(self, event_id: EventId) -> dict[str, Any]:
        """Return an event of which we do not know the room."""
        event: dict[str, Any] = await self.http.call(api.GetEventAlone, {"event_id": event_id})
        return event
