"""Finding people."""

from __future__ import annotations

from tricord.clients.api import people as api
from tricord.clients.calls.base import Calls
from tricord.protocol.identifiers import RoomId, UserId


class PeopleCalls(Calls):
    """The user directory, and what we share with somebody."""

    async def search_users(self, term: str, *, limit: int = 10) -> api.SearchUsers.Response:
        """Return people whose names or user ids begin with what is looked for, best first.

        https://spec.matrix.org/v1.19/client-server-api/#user-directory
        """
        endpoint = api.SearchUsers
        return await self.http.typed(endpoint, endpoint.Response, body={"search_term": term, "limit": limit})

    async def mutual_rooms(self, user_id: UserId) -> list[RoomId]:
        """Return the rooms that we are in together with somebody.

        https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1mutual_rooms
        """
        endpoint = api.GetMutualRooms
        rooms: list[RoomId] = []
        start: str | None = None
        while True:
            page = await self.http.typed(endpoint, endpoint.Response, query={"user_id": user_id, "from": start})
            rooms += page.joined
            if (start := page.next_batch) is None:
                return rooms
