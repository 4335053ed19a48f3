"""The keys of servers, from themselves or from a notary."""

from __future__ import annotations

from collections.abc import Mapping

from tricord.federation.api import keys
from tricord.federation.calls.base import EVENTS_BYTES, QUICK_SECONDS, PeerCalls, json_object
from tricord.protocol.identifiers import KeyId, ServerName
from tricord.protocol.strict_json import JsonObject


class KeyCalls(PeerCalls):
    """Keys that servers sign with."""

    async def server_keys(self, destination: ServerName) -> JsonObject:
        """Return the keys that a server publishes, signed as they are."""
        answer = await self._client.call(
            destination, keys.GetServerKeys, timeout_seconds=QUICK_SECONDS, max_bytes=64 << 10, urgent=True
        )
        return json_object(destination, answer)

    async def notary_keys(
        self, notary: ServerName, wanted: Mapping[ServerName, Mapping[KeyId, int]]
    ) -> list[JsonObject]:
        """Ask a notary for keys of servers, valid until some times; return their objects, signed as they are."""
        criteria = {
            server: {key_id: {"minimum_valid_until_ts": until} for key_id, until in of_server.items()}
            for server, of_server in wanted.items()
        }
        answer = await self._client.typed(
            notary,
            keys.QueryManyServerKeys,
            keys.NotaryAnswer,
            body={"server_keys": criteria},
            max_bytes=EVENTS_BYTES,
            urgent=True,
        )
        return answer.server_keys
