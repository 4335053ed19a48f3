"""Routes of aliases and of the published room directory."""

from __future__ import annotations

from typing import Any

from tricord.clients.api.directory import (
    DeleteAlias,
    DirectoryFilter,
    GetAliases,
    GetPublicRooms,
    GetVisibility,
    PublicRoomsPage,
    ResolveAlias,
    SearchPublicRooms,
    SetAlias,
    SetVisibility,
)
from tricord.homeserver.rooms.aliases import Aliases
from tricord.homeserver.rooms.directory import Directory, Networks
from tricord.homeserver.serving.call import Call, Route
from tricord.protocol.identifiers import parse_room_alias, parse_room_id
from tricord.protocol.strict_json import JsonObject


class DirectoryApi:
    """Aliases, and which rooms are published."""

    def __init__(self, aliases: Aliases, directory: Directory) -> None:
        self._aliases = aliases
        self._directory = directory

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route(SetAlias, self.set_alias),
            Route(ResolveAlias, self.resolve_alias),
            Route(DeleteAlias, self.delete_alias),
            Route(GetAliases, self.aliases_of_room),
            Route(GetVisibility, self.visibility),
            Route(SetVisibility, self.set_visibility),
            Route(GetPublicRooms, self.public_rooms),
            Route(SearchPublicRooms, self.search),
        ]

    async def set_alias(self, call: Call[SetAlias.Body, Any]) -> JsonObject:
        """Give a room another alias."""
        alias, room_id = parse_room_alias(call.path["room_alias"]), parse_room_id(call.body.room_id)
        await self._aliases.add(call.requester, alias, room_id)
        return {}

    async def resolve_alias(self, call: Call[Any, Any]) -> ResolveAlias.Response:
        """Say which room an alias stands for."""
        room_id, servers = await self._aliases.resolve(parse_room_alias(call.path["room_alias"]))
        return ResolveAlias.Response(room_id=room_id, servers=servers)

    async def delete_alias(self, call: Call[Any, Any]) -> JsonObject:
        """Take an alias away."""
        await self._aliases.remove(call.requester, parse_room_alias(call.path["room_alias"]))
        return {}

    async def aliases_of_room(self, call: Call[Any, Any]) -> GetAliases.Response:
        """List the local aliases of a room."""
        room_id = parse_room_id(call.path["room_id"])
        return GetAliases.Response(aliases=await self._aliases.of_room(call.requester, room_id))

    async def visibility(self, call: Call[Any, Any]) -> GetVisibility.Response:
        """Say whether a room is published."""
        published = await self._directory.is_published(parse_room_id(call.path["room_id"]))
        return GetVisibility.Response(visibility="public" if published else "private")

    async def set_visibility(self, call: Call[SetVisibility.Body, Any]) -> JsonObject:
        """Publish a room, or stop publishing it."""
        room_id = parse_room_id(call.path["room_id"])
        await self._directory.set_published(call.requester, room_id, published=call.body.visibility == "public")
        return {}

    async def public_rooms(self, call: Call[Any, GetPublicRooms.Query]) -> PublicRoomsPage:
        """Read the directory."""
        wanted = call.query
        return await self._directory.page(DirectoryFilter(), wanted.since, wanted.limit, wanted.server)

    async def search(self, call: Call[SearchPublicRooms.Body, SearchPublicRooms.Query]) -> PublicRoomsPage:
        """Search the directory."""
        wanted = call.body
        networks = Networks(wanted.include_all_networks, wanted.third_party_instance_id)
        return await self._directory.page(wanted.filter, wanted.since, wanted.limit, call.query.server, networks)
