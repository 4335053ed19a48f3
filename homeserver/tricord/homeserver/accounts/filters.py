"""Filters that are kept on the server.

https://spec.matrix.org/v1.19/client-server-api/#filtering
"""

from __future__ import annotations

import orjson

from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.filters import filter_definition, put_filter
from tricord.protocol.errors import NotFound
from tricord.protocol.event_filters import Filter
from tricord.protocol.identifiers import UserId
from tricord.protocol.strict_json import JsonObject


class Filters:
    """Keeps what clients upload, once it has been found to be a filter."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, user_id: UserId, definition: JsonObject) -> str:
        """Keep a filter, and return its id; raise if it is none."""
        Filter.parse(definition)
        encoded = orjson.dumps(definition, option=orjson.OPT_SORT_KEYS)
        return str(await self._database.run(put_filter, user_id, encoded))

    async def definition(self, user_id: UserId, filter_id: str) -> bytes:
        """Return a filter as JSON; raise NotFound if the user has none of that id."""
        # isdecimal also likes the digits of other scripts, and int() reads them.
        if filter_id.isascii() and filter_id.isdecimal() and len(filter_id) < 10:
            found = await self._database.read(filter_definition, user_id, int(filter_id))
            if found is not None:
                return found
        raise NotFound("there is no such filter")
