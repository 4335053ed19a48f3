"""Routes of keys of devices."""

from __future__ import annotations

from typing import Any

from tricord.clients.api.keys import ClaimKeys, KeyChanges, QueryKeys, UploadKeys
from tricord.homeserver.client_api.own import own_device_id
from tricord.homeserver.encryption.device_keys import DeviceKeys, Upload
from tricord.homeserver.encryption.device_lists import DeviceLists
from tricord.homeserver.encryption.key_queries import KeyQueries
from tricord.homeserver.serving.call import Call, Route
from tricord.homeserver.stream.publisher import Publisher
from tricord.homeserver.stream.tokens import decode_token
from tricord.protocol.strict_json import JsonObject


class ClientKeysApi:
    """Keys of one's own device, and of others'."""

    def __init__(self, device_keys: DeviceKeys, queries: KeyQueries, lists: DeviceLists, publisher: Publisher) -> None:
        self._lists = lists
        self._publisher = publisher
        self._device_keys = device_keys
        self._queries = queries

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route(UploadKeys, self.upload),
            Route(QueryKeys, self.query),
            Route(ClaimKeys, self.claim),
            Route(KeyChanges, self.changes),
        ]

    async def upload(self, call: Call[UploadKeys.Body, Any]) -> JsonObject:
        """Take in keys of the device that calls."""
        body = call.body
        upload = Upload(body.device_keys, body.one_time_keys, body.fallback_keys)
        counts = await self._device_keys.upload(call.requester.user_id, own_device_id(call), upload)
        return {"one_time_key_counts": counts}

    async def query(self, call: Call[QueryKeys.Body, Any]) -> JsonObject:
        """Answer the keys of devices."""
        return await self._queries.query(call.requester.user_id, call.body.device_keys, call.body.timeout)

    async def claim(self, call: Call[ClaimKeys.Body, Any]) -> JsonObject:
        """Give keys to begin sessions with."""
        return await self._queries.claim(call.body.one_time_keys, call.body.timeout)

    async def changes(self, call: Call[Any, KeyChanges.Query]) -> JsonObject:
        """Answer whose devices changed."""
        after, upto = decode_token(call.query.after), decode_token(call.query.upto)
        # What a client knows by now it may well be told: it asks because it was away.
        news = await self._lists.news(call.requester.user_id, after, max(upto, self._publisher.position))
        return {"changed": news.changed, "left": news.left}
