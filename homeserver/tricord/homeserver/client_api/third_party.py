"""Routes of bridged networks. There are none yet, and the answers say so.

https://spec.matrix.org/v1.19/client-server-api/#third-party-networks
"""

from __future__ import annotations

from typing import Any

from tricord.clients.api.third_party import (
    GetLocations,
    GetLocationsOfProtocol,
    GetProtocol,
    GetProtocols,
    GetUsers,
    GetUsersOfProtocol,
    SetNetworkVisibility,
)
from tricord.homeserver.serving.call import Call, Route
from tricord.protocol.errors import Forbidden, NotFound
from tricord.protocol.identifiers import parse_room_alias, parse_room_id, parse_user_id
from tricord.protocol.strict_json import JsonObject


class ThirdPartyApi:
    """Networks beside Matrix."""

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route(GetProtocols, self.protocols),
            Route(GetProtocol, self.of_protocol),
            Route(GetLocationsOfProtocol, self.of_protocol),
            Route(GetUsersOfProtocol, self.of_protocol),
            Route(GetLocations, self.locations),
            Route(GetUsers, self.users),
            Route(SetNetworkVisibility, self.set_visibility),
        ]

    async def protocols(self, _call: Call[Any, Any]) -> JsonObject:
        """List the networks."""
        return {}

    async def of_protocol(self, call: Call[Any, Any]) -> JsonObject:
        """Say that the network is unknown."""
        raise NotFound(f"this server is bridged to no network {call.path['protocol']!r}")

    async def locations(self, call: Call[Any, GetLocations.Query]) -> JsonObject:
        """Say that the room leads nowhere."""
        raise NotFound(f"{parse_room_alias(call.query.alias)} leads to no other network")

    async def users(self, call: Call[Any, GetUsers.Query]) -> JsonObject:
        """Say that the user stands for nobody."""
        raise NotFound(f"{parse_user_id(call.query.userid)} stands for nobody of another network")

    async def set_visibility(self, call: Call[SetNetworkVisibility.Body, Any]) -> JsonObject:
        """Refuse everybody who is no application service."""
        parse_room_id(call.path["room_id"])
        raise Forbidden("only application services may change the directory of their network")
