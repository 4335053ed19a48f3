"""Routes of the threads of rooms."""

from __future__ import annotations

from typing import Any

from tricord.clients.api.threads import GetThreads, GetThreadUpdates
from tricord.homeserver.rooms.client_format import Reader
from tricord.homeserver.rooms.memberships import Memberships
from tricord.homeserver.rooms.thread_list import ThreadList
from tricord.homeserver.rooms.thread_updates import Asked, ThreadUpdates
from tricord.homeserver.serving.call import Call, Route
from tricord.homeserver.stream.tokens import decode_token
from tricord.protocol.identifiers import parse_room_id
from tricord.protocol.strict_json import JsonObject

# Beyond every position.
_END = 10**17


class ThreadsApi:
    """Finding threads."""

    def __init__(self, threads: ThreadList, updates: ThreadUpdates, memberships: Memberships) -> None:
        self._threads = threads
        self._updates = updates
        self._memberships = memberships

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [Route(GetThreads, self.threads), Route(GetThreadUpdates, self.updates)]

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

    async def updates(self, call: Call[Any, GetThreadUpdates.Query]) -> JsonObject:
        """Read a page of the threads of all the user's rooms."""
        wanted, requester = call.query, call.requester
        # What sliding sync gives out as `pos` says more than the position.
        after = 0 if wanted.to is None else decode_token(wanted.to.partition("~")[0])
        asked = Asked(after, _END, wanted.limit, include_roots=wanted.include_roots, start=wanted.from_)
        rooms = await self._memberships.joined_rooms(requester.user_id)
        updates = await self._updates.of(Reader(requester.user_id, requester.device_id), rooms, asked)
        answer: JsonObject = {"chunk": updates.by_room}
        if updates.next is not None:
            answer["next_batch"] = updates.next
        return answer
