"""Routes of public keys: ours, and as a notary those of others."""

from __future__ import annotations

from typing import Any

import trio

from tricord.federation.api.keys import GetServerKeys, QueryManyServerKeys, QueryServerKeys
from tricord.federation.keys import KeyRing
from tricord.homeserver.clock import Clock
from tricord.homeserver.serving.call import Call, Route
from tricord.protocol.errors import BadJson
from tricord.protocol.identifiers import ServerName, parse_server_name
from tricord.protocol.strict_json import JsonObject

_MOST_SERVERS = 100


class KeysApi:
    """Gives out keys."""

    def __init__(self, keys: KeyRing, server_name: ServerName, clock: Clock) -> None:
        self._keys = keys
        self._server_name = server_name
        self._clock = clock

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route(GetServerKeys, self.own),
            Route(QueryServerKeys, self.of_server),
            Route(QueryManyServerKeys, self.of_servers),
        ]

    async def own(self, _call: Call[Any, Any]) -> JsonObject:
        """Give out our own keys."""
        return self._keys.own_document()

    async def of_server(self, call: Call[Any, QueryServerKeys.Query]) -> JsonObject:
        """Give out the keys of a server."""
        server = parse_server_name(call.path["server_name"])
        return await self._documents({server: self._or_now(call.query.minimum_valid_until_ts)})

    async def of_servers(self, call: Call[QueryManyServerKeys.Body, Any]) -> JsonObject:
        """Give out the keys of servers."""
        wanted: dict[ServerName, int] = {}
        for server, keys in call.body.server_keys.items():
            minima = [self._or_now(key.minimum_valid_until_ts) for key in keys.values()]
            wanted[server] = max(minima, default=self._clock.now_ms())
        if len(wanted) > _MOST_SERVERS:
            raise BadJson(f"at most {_MOST_SERVERS} servers can be asked for at once")
        return await self._documents(wanted)

    def _or_now(self, minimum: int | None) -> int:
        """Return until when keys must be valid: until now, if nobody says otherwise."""
        return self._clock.now_ms() if minimum is None else minimum

    async def _documents(self, wanted: dict[ServerName, int]) -> JsonObject:
        documents: list[JsonObject] = []

        async def add(server: ServerName, minimum: int) -> None:
            if server == self._server_name:
                documents.append(self._keys.own_document())
                return
            document = await self._keys.document_of(server, minimum)
            if document is not None:
                documents.append(self._keys.countersigned(document))

        async with trio.open_nursery() as nursery:
            for server, minimum in wanted.items():
                nursery.start_soon(add, server, minimum)
        return {"server_keys": documents}
