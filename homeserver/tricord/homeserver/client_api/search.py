"""Routes of search."""

from __future__ import annotations

from tricord.clients.api.search import SearchEvents
from tricord.homeserver.search.search import Search
from tricord.homeserver.serving.call import Call, Route
from tricord.protocol.strict_json import JsonObject


class SearchApi:
    """Finding what was said."""

    def __init__(self, search: Search) -> None:
        self._search = search

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [Route(SearchEvents, self.search)]

    async def search(self, call: Call[SearchEvents.Body, SearchEvents.Query]) -> JsonObject:
        """Search events."""
        wanted = call.body.search_categories.room_events
        if wanted is None:
            return {"search_categories": {}}
        found = await self._search.events(call.requester, wanted, call.query.next_batch)
        return {"search_categories": {"room_events": found}}
