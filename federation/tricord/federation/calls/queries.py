"""What another server is asked on behalf of its users, its rooms and itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from tricord.clients.api.directory import DirectoryFilter, PublicRoomsPage
from tricord.federation.api import openid, public_rooms, queries, spaces
from tricord.federation.calls.base import QUICK_SECONDS, PeerCalls, json_object, server_names
from tricord.federation.errors import PeerAnswerInvalid
from tricord.protocol.identifiers import RoomAlias, RoomId, ServerName, UserId, server_name_of
from tricord.protocol.strict_json import JsonObject


class RoomOfAlias(NamedTuple):
    """What an alias stands for, and servers that are in the room."""

    room_id: RoomId
    servers: list[ServerName]


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """A room, the rooms directly in it, and those that the asking server may not see."""

    room: JsonObject
    children: list[JsonObject]
    inaccessible_children: list[RoomId]


class QueryCalls(PeerCalls):
    """Aliases, profiles, published rooms, spaces, OpenID tokens."""

    async def query_directory(self, destination: ServerName, alias: RoomAlias) -> RoomOfAlias:
        """Return what an alias of the server stands for."""
        answer = await self._client.typed(
            destination,
            queries.QueryDirectory,
            queries.QueryDirectory.Response,
            query={"room_alias": alias},
            urgent=True,
        )
        return RoomOfAlias(answer.room_id, server_names(answer.servers))

    async def query_profile(self, destination: ServerName, user_id: UserId, field: str | None = None) -> JsonObject:
        """Return the profile of a user of the server, or one field of it: an object of what is set."""
        answer = await self._client.call(
            destination,
            queries.QueryProfile,
            query={"user_id": user_id, "field": field},
            timeout_seconds=QUICK_SECONDS,
        )
        return json_object(destination, answer)

    async def version(self, destination: ServerName) -> tuple[str | None, str | None]:
        """Return the name and version of the server's software."""
        answer = await self._client.typed(
            destination, queries.GetVersion, queries.GetVersion.Response, timeout_seconds=QUICK_SECONDS, urgent=True
        )
        return answer.server.name, answer.server.version

    async def public_rooms(
        self,
        destination: ServerName,
        *,
        limit: int | None = None,
        since: str | None = None,
        search: DirectoryFilter | None = None,
        include_all_networks: bool = False,
        third_party_instance_id: str | None = None,
    ) -> PublicRoomsPage:
        """Return a page of the server's published rooms, of those that match `search` if it is given."""
        page: dict[str, Any] = {"limit": limit, "since": since, "third_party_instance_id": third_party_instance_id}
        page = {name: value for name, value in page.items() if value is not None}
        page["include_all_networks"] = include_all_networks
        if search is None:
            return await self._client.typed(
                destination, public_rooms.GetPublicRooms, PublicRoomsPage, query=page, urgent=True
            )
        page["filter"] = search.model_dump(exclude_none=True)
        return await self._client.typed(
            destination, public_rooms.SearchPublicRooms, PublicRoomsPage, body=page, urgent=True
        )

    async def hierarchy(self, destination: ServerName, room_id: RoomId, *, suggested_only: bool = False) -> Hierarchy:
        """Return what the server tells of a room and the rooms in it."""
        answer = await self._client.typed(
            destination,
            spaces.GetHierarchy,
            spaces.GetHierarchy.Response,
            {"room_id": room_id},
            {"suggested_only": suggested_only},
        )
        return Hierarchy(answer.room, answer.children, answer.inaccessible_children)

    async def openid_userinfo(self, destination: ServerName, access_token: str) -> UserId:
        """Return whose OpenID token it is: a user of the server, which knows of no others."""
        answer = await self._client.typed(
            destination,
            openid.GetOpenIdUserInfo,
            openid.GetOpenIdUserInfo.Response,
            query={"access_token": access_token},
            timeout_seconds=QUICK_SECONDS,
            urgent=True,
        )
        if server_name_of(answer.sub) != destination:
            raise PeerAnswerInvalid(destination, f"says that the token is that of {answer.sub}, who is not its user")
        return answer.sub
