"""Bridged networks."""

from __future__ import annotations

from typing import Any

from tricord.clients.api import third_party as api
from tricord.clients.api.directory import Visibility
from tricord.clients.calls.base import Calls
from tricord.protocol.identifiers import RoomAlias, RoomId, UserId


class ThirdPartyCalls(Calls):
    """Looking for places and people of bridged networks.

    https://spec.matrix.org/v1.19/client-server-api/#third-party-networks
    """

    async def protocols(self) -> dict[str, Any]:
        """Return what is known of each network, by name."""
        found: dict[str, Any] = await self.http.call(api.GetProtocols)
        return found

    async def protocol(self, name: str) -> dict[str, Any]:
        """Return what is known of one network."""
        found: dict[str, Any] = await self.http.call(api.GetProtocol, {"protocol": name})
        return found

    async def third_party_locations(self, protocol: str, **fields: str) -> list[dict[str, Any]]:
        """Return the rooms that lead to a place of a network."""
        return await self._list(api.GetLocationsOfProtocol, {"protocol": protocol}, fields)

    async def third_party_users(self, protocol: str, **fields: str) -> list[dict[str, Any]]:
        """Return the Matrix users who stand for a user of a network."""
        return await self._list(api.GetUsersOfProtocol, {"protocol": protocol}, fields)

    async def locations_of_alias(self, alias: RoomAlias) -> list[dict[str, Any]]:
        """Return the places to which a room leads."""
        return await self._list(api.GetLocations, {}, {"alias": alias})

    async def third_parties_of_user(self, user_id: UserId) -> list[dict[str, Any]]:
        """Return the users of networks for whom a Matrix user stands."""
        return await self._list(api.GetUsers, {}, {"userid": user_id})

    async def set_network_visibility(self, network_id: str, room_id: RoomId, visibility: Visibility) -> None:
        """List a room in the directory of a network, or take it out; for application services."""
        path = {"network_id": network_id, "room_id": room_id}
        await self.http.call(api.SetNetworkVisibility, path, body={"visibility": visibility})

    async def _list(self, endpoint: Any, path: dict[str, str], query: dict[str, str]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await self.http.call(endpoint, path, query=query)
        return found
