"""Routes of looking into rooms."""

from __future__ import annotations

from typing import Any

import orjson

from tricord.clients.api.previews import FollowEvents, GetEventAlone, PeekIntoRoom
from tricord.homeserver.rooms.peeking import Peeking
from tricord.homeserver.serving.call import Answer, Call, Route
from tricord.protocol.identifiers import EventId, parse_room_id


class PreviewsApi:
    """Peeking."""

    def __init__(self, peeking: Peeking) -> None:
        self._peeking = peeking

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [Route(PeekIntoRoom, self.room), Route(FollowEvents, self.follow), Route(GetEventAlone, self.event)]

    async def room(self, call: Call[Any, PeekIntoRoom.Query]) -> Answer:
        """Show a room."""
        room_id = parse_room_id(call.path["room_id"])
        return Answer(orjson.dumps(await self._peeking.room(call.requester, room_id, call.query.limit)))

    async def follow(self, call: Call[Any, FollowEvents.Query]) -> Answer:
        """Wait for events."""
        wanted = call.query
        room_id = None if wanted.room_id is None else parse_room_id(wanted.room_id)
        news = await self._peeking.follow(call.requester, room_id, wanted.from_, wanted.timeout / 1000)
        return Answer(orjson.dumps(news))

    async def event(self, call: Call[Any, Any]) -> Answer:
        """Show an event."""
        return Answer(orjson.dumps(await self._peeking.event(call.requester, EventId(call.path["event_id"]))))
