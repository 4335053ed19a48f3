"""Routes of presence."""

from __future__ import annotations

from typing import Any

from tricord.clients.api.presence import GetPresence, SetPresence
from tricord.homeserver.accounts.presence import Presences
from tricord.homeserver.serving.call import Call, Route
from tricord.protocol.errors import Forbidden
from tricord.protocol.identifiers import parse_user_id
from tricord.protocol.strict_json import JsonObject


class PresenceApi:
    """Who is there."""

    def __init__(self, presences: Presences) -> None:
        self._presences = presences

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [Route(SetPresence, self.set), Route(GetPresence, self.get)]

    async def set(self, call: Call[SetPresence.Body, Any]) -> JsonObject:
        """Take what a user says of themself."""
        user_id = call.requester.user_id
        if parse_user_id(call.path["user_id"]) != user_id:
            raise Forbidden("nobody can set the presence of others")
        await self._presences.set(user_id, call.body.presence, call.body.status_msg)
        return {}

    async def get(self, call: Call[Any, Any]) -> JsonObject:
        """Tell the state of somebody."""
        return await self._presences.seen_by(call.requester.user_id, parse_user_id(call.path["user_id"]))
