"""Routes of questions about this server, its users and its rooms."""

from __future__ import annotations

from typing import Any

from tricord.clients.api.directory import DirectoryFilter, PublicRoomsPage
from tricord.federation.api.public_rooms import GetPublicRooms, SearchPublicRooms
from tricord.federation.api.queries import GetVersion, QueryDirectory, QueryOther, QueryProfile
from tricord.homeserver.accounts.profiles import Profiles
from tricord.homeserver.rooms.aliases import Aliases
from tricord.homeserver.rooms.directory import Directory, Networks
from tricord.homeserver.serving.call import Call, Route
from tricord.protocol.errors import NotFound
from tricord.protocol.strict_json import JsonObject


class FederationQueriesApi:
    """Answers questions of other servers."""

    def __init__(self, aliases: Aliases, profiles: Profiles, directory: Directory) -> None:
        self._aliases = aliases
        self._profiles = profiles
        self._directory = directory

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route(GetVersion, self.version),
            Route(QueryDirectory, self.room_of_alias),
            Route(QueryProfile, self.profile),
            Route(QueryOther, self.other),
            Route(GetPublicRooms, self.public_rooms),
            Route(SearchPublicRooms, self.search_public_rooms),
        ]

    async def version(self, _call: Call[Any, Any]) -> JsonObject:
        """Say what runs here."""
        from importlib.metadata import version

        return {"server": {"name": "Tricord", "version": version("tricord")}}

    async def other(self, call: Call[Any, Any]) -> JsonObject:
        """Refuse a question that is not known."""
        raise NotFound(f"questions about {call.path['query_type']!r} are not answered here")

    async def room_of_alias(self, call: Call[Any, QueryDirectory.Query]) -> JsonObject:
        """Say which room an alias stands for."""
        room_id, servers = await self._aliases.resolve_local(call.query.room_alias)
        return {"room_id": room_id, "servers": servers}

    async def profile(self, call: Call[Any, QueryProfile.Query]) -> JsonObject:
        """Show the profile of one of our users."""
        profile = await self._profiles.local_profile(call.query.user_id)
        field = call.query.field
        return profile if field is None else {field: profile[field]} if field in profile else {}

    async def public_rooms(self, call: Call[Any, GetPublicRooms.Query]) -> PublicRoomsPage:
        """Show the directory."""
        wanted = call.query
        networks = Networks(wanted.include_all_networks, wanted.third_party_instance_id)
        return await self._directory.page(DirectoryFilter(), wanted.since, wanted.limit, None, networks)

    async def search_public_rooms(self, call: Call[SearchPublicRooms.Body, Any]) -> PublicRoomsPage:
        """Show what matches in the directory."""
        wanted = call.body
        networks = Networks(wanted.include_all_networks, wanted.third_party_instance_id)
        return await self._directory.page(wanted.filter, wanted.since, wanted.limit, None, networks)
