"""The filter of a sync: by id or as JSON, parsed once for all who use the same.

Clients of one kind use the same filter, word for word. They get the same object here, so that what is rendered for one
of them is found again for the next one by the identity of the filter.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import orjson

from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.filters import filter_definition
from tricord.protocol.errors import BadJson, InvalidParam, NotJson
from tricord.protocol.event_filters import Filter
from tricord.protocol.identifiers import UserId
from tricord.protocol.strict_json import parse_object

_MOST_REMEMBERED = 1_000
_LONGEST_ID = 9

EVERYTHING = Filter()


class SyncFilters:
    """Finds and parses filters."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._parsed: OrderedDict[bytes, Filter] = OrderedDict()
        # A stored filter never changes.
        self._stored: OrderedDict[tuple[UserId, str], Filter] = OrderedDict()

    async def of(self, user_id: UserId, wanted: dict[str, Any] | str | None) -> Filter:
        """Return the filter that a request names: nothing, JSON, JSON as a string, or the id of a stored one."""
        if not wanted:
            return EVERYTHING
        if isinstance(wanted, dict):
            return self._parse(orjson.dumps(wanted))
        if wanted.startswith("{"):
            return self._parse(wanted.encode())
        return await self._stored_filter(user_id, wanted)

    async def _stored_filter(self, user_id: UserId, filter_id: str) -> Filter:
        if (stored := self._stored.get((user_id, filter_id))) is not None:
            return stored
        if not filter_id.isascii() or not filter_id.isdecimal() or len(filter_id) > _LONGEST_ID:
            raise InvalidParam("`filter` is neither JSON nor the id of a filter")
        definition = await self._database.read(filter_definition, user_id, int(filter_id))
        if definition is None:
            raise InvalidParam("there is no such filter")
        return _remember(self._stored, (user_id, filter_id), self._parse(definition))

    def _parse(self, definition: bytes) -> Filter:
        if (parsed := self._parsed.get(definition)) is not None:
            return parsed
        try:
            return _remember(self._parsed, definition, Filter.parse(parse_object(definition)))
        except (NotJson, BadJson) as error:
            raise InvalidParam(f"`filter` is no filter: {error.message}") from error


def _remember(memory: OrderedDict[Any, Filter], key: Any, value: Filter) -> Filter:
    memory[key] = value
    if len(memory) > _MOST_REMEMBERED:
        memory.popitem(last=False)
    return value
