"""Routes of finding people."""

from __future__ import annotations

from typing import Any

from tricord.clients.api.people import GetMutualRooms, SearchUsers
from tricord.homeserver.accounts.mutual_rooms import MutualRooms
from tricord.homeserver.accounts.user_directory import UserDirectory
from tricord.homeserver.serving.call import Call, Route
from tricord.protocol.identifiers import parse_user_id


class PeopleApi:
    """The user directory, and rooms in common."""

    def __init__(self, directory: UserDirectory, mutual_rooms: MutualRooms) -> None:
        self._directory = directory
        self._mutual_rooms = mutual_rooms

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [Route(SearchUsers, self.search), Route(GetMutualRooms, self.mutual_rooms)]

    async def search(self, call: Call[SearchUsers.Body, Any]) -> SearchUsers.Response:
        """Search for people."""
        return await self._directory.search(call.requester.user_id, call.body.search_term, call.body.limit)

    async def mutual_rooms(self, call: Call[Any, GetMutualRooms.Query]) -> GetMutualRooms.Response:
        """List the rooms in common."""
        other = parse_user_id(call.query.user_id)
        return await self._mutual_rooms.page(call.requester.user_id, other, call.query.from_)
