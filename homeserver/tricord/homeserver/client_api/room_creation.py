"""Routes of room creation."""

from __future__ import annotations

from typing import Any

from tricord.clients.api.room_creation import CreateRoom
from tricord.homeserver.rooms.create import RoomCreation
from tricord.homeserver.serving.call import Call, Route


class RoomCreationApi:
    """`POST /createRoom`."""

    def __init__(self, creation: RoomCreation) -> None:
        self._creation = creation

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [Route(CreateRoom, self.create)]

    async def create(self, call: Call[CreateRoom.Body, Any]) -> CreateRoom.Response:
        """Create a room."""
        room_id = await self._creation.create(call.requester.user_id, call.body)
        return CreateRoom.Response(room_id=room_id)
