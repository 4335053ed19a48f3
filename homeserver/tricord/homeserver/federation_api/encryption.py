"""Routes of devices and keys of local users, for other servers."""

from __future__ import annotations

from typing import Any

from tricord.federation.api.encryption import ClaimKeys, GetUserDevices, QueryKeys
from tricord.homeserver.encryption.key_queries import KeyQueries
from tricord.homeserver.serving.call import Call, Route
from tricord.protocol.errors import InvalidParam
from tricord.protocol.identifiers import UserId, is_valid_user_id
from tricord.protocol.strict_json import JsonObject


class FederationKeysApi:
    """Tells other servers the keys of local users, and of nobody else."""

    def __init__(self, queries: KeyQueries) -> None:
        self._queries = queries

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route(GetUserDevices, self.devices),
            Route(QueryKeys, self.query),
            Route(ClaimKeys, self.claim),
        ]

    async def devices(self, call: Call[Any, Any]) -> JsonObject:
        """Tell all devices of a user."""
        user_id = call.path["user_id"]
        if not is_valid_user_id(user_id):
            raise InvalidParam("there is no such user")
        return await self._queries.whole_list(UserId(user_id))

    async def query(self, call: Call[QueryKeys.Body, Any]) -> JsonObject:
        """Tell the keys of devices."""
        return await self._queries.query_local(call.body.device_keys)

    async def claim(self, call: Call[ClaimKeys.Body, Any]) -> JsonObject:
        """Give one-time keys."""
        return await self._queries.claim_local(call.body.one_time_keys)
