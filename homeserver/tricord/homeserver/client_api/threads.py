"""Routes of the threads of rooms."""

from __future__ import annotations

from typing import Any

from tricord.clients.api.threads import GetThreads
from tricord.homeserver.rooms.thread_list import ThreadList
from tricord.homeserver.serving.call import Call, Route
from tricord.protocol.identifiers import parse_room_id
from tricord.protocol.strict_json import JsonObject


class ThreadsApi:
    """Finding threads."""

    def __init__(self, threads: ThreadList) -> None:
        self._threads = threads

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [Route(GetThreads, self.threads)]

    async def threads(self, call: Call[Any, GetThreads.Query]) -> JsonObject:
        """Read a page of threads."""
        wanted = call.query
        return await self._threads.page(
            call.requester,
            parse_room_id(call.path["room_id"]),
            participated=wanted.include == "participated",
            limit=wanted.limit,
            start=wanted.from_,
        )
