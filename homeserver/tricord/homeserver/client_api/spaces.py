"""Routes of room summaries and of what is in spaces."""

from __future__ import annotations

from typing import Any

from tricord.clients.api.spaces import GetHierarchy, GetRoomSummary
from tricord.homeserver.rooms.aliases import Aliases
from tricord.homeserver.rooms.hierarchy import Hierarchy
from tricord.homeserver.rooms.summaries import Summaries
from tricord.homeserver.serving.call import Call, Route
from tricord.protocol.identifiers import ServerName, parse_room_alias, parse_room_id, parse_server_name

_MOST_SERVERS = 20


class SpacesApi:
    """Rooms from outside."""

    def __init__(self, hierarchy: Hierarchy, summaries: Summaries, aliases: Aliases) -> None:
        self._hierarchy = hierarchy
        self._summaries = summaries
        self._aliases = aliases

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [Route(GetHierarchy, self.hierarchy), Route(GetRoomSummary, self.summary)]

    async def hierarchy(self, call: Call[Any, GetHierarchy.Query]) -> GetHierarchy.Response:
        """Show a page of a space."""
        wanted = call.query
        return await self._hierarchy.page(
            call.requester.user_id,
            parse_room_id(call.path["room_id"]),
            suggested_only=wanted.suggested_only,
            max_depth=wanted.max_depth,
            limit=wanted.limit,
            token=wanted.from_,
        )

    async def summary(self, call: Call[Any, GetRoomSummary.Query]) -> GetRoomSummary.Response:
        """Show what a room is."""
        named, requester = call.path["room_id_or_alias"], call.requester_or_none
        servers: list[ServerName] = [parse_server_name(server) for server in call.query.via[:_MOST_SERVERS]]
        if named.startswith("#"):
            alias = parse_room_alias(named)
            # Strangers have no other servers asked for them.
            resolve = self._aliases.resolve_local if requester is None else self._aliases.resolve
            room_id, known = await resolve(alias)
            servers += known
        else:
            room_id = parse_room_id(named)
        return await self._summaries.of(None if requester is None else requester.user_id, room_id, servers)
