"""Routes of keys of devices."""

from __future__ import annotations

from typing import Any

from tricord.clients.api.keys import ClaimKeys, QueryKeys, UploadKeys
from tricord.homeserver.client_api.own import own_device_id
from tricord.homeserver.encryption.device_keys import DeviceKeys, Upload
from tricord.homeserver.encryption.key_queries import KeyQueries
from tricord.homeserver.serving.call import Call, Route
from tricord.protocol.strict_json import JsonObject


class ClientKeysApi:
    """Keys of one's own device, and of others'."""

    def __init__(self, device_keys: DeviceKeys, queries: KeyQueries) -> None:
        self._device_keys = device_keys
        self._queries = queries

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route(UploadKeys, self.upload),
            Route(QueryKeys, self.query),
            Route(ClaimKeys, self.claim),
        ]

    async def upload(self, call: Call[UploadKeys.Body, Any]) -> JsonObject:
        """Take in keys of the device that calls."""
        body = call.body
        upload = Upload(body.device_keys, body.one_time_keys, body.fallback_keys)
        counts = await self._device_keys.upload(call.requester.user_id, own_device_id(call), upload)
        return {"one_time_key_counts": counts}

    async def query(self, call: Call[QueryKeys.Body, Any]) -> JsonObject:
        """Answer the keys of devices."""
        return await self._queries.query(call.body.device_keys)

    async def claim(self, call: Call[ClaimKeys.Body, Any]) -> JsonObject:
        """Give keys to begin sessions with."""
        return await self._queries.claim(call.body.one_time_keys)
