"""Routes of filters."""

from __future__ import annotations

from typing import Any

from tricord.clients.api.filters import CreateFilter, GetFilter
from tricord.homeserver.accounts.filters import Filters
from tricord.homeserver.client_api.own import own_user_id
from tricord.homeserver.serving.call import Answer, Call, Route
from tricord.protocol.strict_json import JsonObject


class FiltersApi:
    """Filters that are kept on the server."""

    def __init__(self, filters: Filters) -> None:
        self._filters = filters

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [Route(CreateFilter, self.create), Route(GetFilter, self.get)]

    async def create(self, call: Call[JsonObject, Any]) -> CreateFilter.Response:
        """Keep a filter."""
        return CreateFilter.Response(filter_id=await self._filters.create(own_user_id(call), call.body))

    async def get(self, call: Call[Any, Any]) -> Answer:
        """Answer a filter's definition."""
        return Answer(await self._filters.definition(own_user_id(call), call.path["filter_id"]))
