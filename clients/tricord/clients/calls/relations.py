"""What relates to an event: reactions, edits, threads, references."""

from __future__ import annotations

from tricord.clients.api import relations as api
from tricord.clients.api import threads
from tricord.clients.api.messages import Direction
from tricord.clients.api.threads import GetThreadUpdates
from tricord.clients.calls.base import Calls
from tricord.clients.endpoint import Endpoint
from tricord.protocol.identifiers import EventId, RoomId


class RelationCalls(Calls):
    """Reading relations."""

    async def relations(
        self,
        room_id: RoomId,
        event_id: EventId,
        *,
        rel_type: str | None = None,
        event_type: str | None = None,
        direction: Direction = "b",
        start: str | None = None,
        end: str | None = None,
        limit: int = 50,
        recurse: bool = False,
    ) -> api.RelationsPage:
        """Read a page of what relates to an event, newest first unless told otherwise.

        `rel_type` (`m.annotation`, `m.thread`, …) and with it `event_type` choose; `recurse` brings what relates to
        what relates to the event as well. The page's `next_batch` is the next `start`.
        https://spec.matrix.org/v1.19/client-server-api/#relationships-api
        """
        if event_type is not None and rel_type is None:
            raise ValueError("relations are chosen by `event_type` only together with `rel_type`")
        path: dict[str, str] = {"room_id": room_id, "event_id": event_id}
        query = {"dir": direction, "from": start, "to": end, "limit": limit, "recurse": recurse or None}
        endpoint: type[Endpoint] = api.GetRelations
        if rel_type is not None:
            path["rel_type"], endpoint = rel_type, api.GetRelationsOfKind
        if event_type is not None:
            path["event_type"], endpoint = event_type, api.GetRelationsOfKindAndType
        page = await self.http.typed(endpoint, api.RelationsPage, path, query=query)
        page.chunk = self.opened(room_id, page.chunk)
        return page

    async def threads(
        self, room_id: RoomId, *, include: threads.Include = "all", start: str | None = None, limit: int = 50
    ) -> threads.GetThreads.Response:
        """Read a page of the events that threads begin with, those with the newest answers first.

        https://spec.matrix.org/v1.19/client-server-api/#querying-threads-in-a-room
        """
        query = {"include": include, "from": start, "limit": limit}
        page = await self.http.typed(threads.GetThreads, threads.GetThreads.Response, {"room_id": room_id}, query=query)
        page.chunk = self.opened(room_id, page.chunk)
        return page

    async def thread_updates(
        self, *, start: str | None = None, end: str | None = None, limit: int = 100, include_roots: bool = False
    ) -> GetThreadUpdates.Response:
        """Read a page of the threads of all one's rooms, those with the newest answers first; back to `end`.

        https://github.com/matrix-org/matrix-spec-proposals/pull/4360
        """
        query = {"dir": "b", "from": start, "to": end, "limit": limit, "include_roots": include_roots or None}
        return await self.http.typed(GetThreadUpdates, GetThreadUpdates.Response, query=query)
