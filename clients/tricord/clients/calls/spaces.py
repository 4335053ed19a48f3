"""What rooms are, seen from outside: summaries, and the rooms of spaces."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from tricord.clients.api import spaces as api
from tricord.clients.calls.base import Calls
from tricord.protocol.identifiers import RoomAlias, RoomId


class SpaceCalls(Calls):
    """Looking at rooms before joining them."""

    async def room_summary(self, room: RoomId | RoomAlias, *, via: Sequence[str] = ()) -> api.GetRoomSummary.Response:
        """Return what a room is and how one gets in; `via` are servers that are said to know it.

        https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1room_summaryroomidoralias
        """
        endpoint = api.GetRoomSummary
        query = {"via": list(via) or None}
        return await self.http.typed(endpoint, endpoint.Response, {"room_id_or_alias": room}, query=query)

    async def hierarchy(
        self,
        space_id: RoomId,
        *,
        suggested_only: bool = False,
        max_depth: int | None = None,
        limit: int | None = None,
        start: str | None = None,
    ) -> api.GetHierarchy.Response:
        """Return a page of a space's rooms, depth first; its `next_batch` is the next `start`.

        https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1roomsroomidhierarchy
        """
        endpoint = api.GetHierarchy
        query = {"suggested_only": suggested_only or None, "max_depth": max_depth, "limit": limit, "from": start}
        return await self.http.typed(endpoint, endpoint.Response, {"room_id": space_id}, query=query)

    async def rooms_of_space(
        self, space_id: RoomId, *, suggested_only: bool = False, max_depth: int | None = None
    ) -> AsyncIterator[api.HierarchyRoom]:
        """Go through a space and all that is in it, page by page."""
        start: str | None = None
        while True:
            page = await self.hierarchy(space_id, suggested_only=suggested_only, max_depth=max_depth, start=start)
            for room in page.rooms:
                yield room
            if (start := page.next_batch) is None:
                return
