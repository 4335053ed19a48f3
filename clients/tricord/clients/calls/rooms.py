"""The state of rooms, their aliases, and the room directory."""

from __future__ import annotations

from typing import Any, Literal

from tricord.clients.api import directory
from tricord.clients.api import rooms as api
from tricord.clients.calls.base import Calls
from tricord.clients.errors import Refused
from tricord.protocol.identifiers import EventId, RoomAlias, RoomId, UserId


class RoomCalls(Calls):
    """State, members, aliases, directory."""

    async def set_state(
        self, room_id: RoomId, event_type: str, content: dict[str, Any], state_key: str = ""
    ) -> EventId:
        """Set one piece of state."""
        path = {"room_id": room_id, "event_type": event_type, "state_key": state_key}
        return (await self.http.typed(api.SetState, api.SetState.Response, path, body=content)).event_id

    async def state(self, room_id: RoomId, event_type: str, state_key: str = "") -> dict[str, Any] | None:
        """Return the content of one piece of state, or None where there is none."""
        path = {"room_id": room_id, "event_type": event_type, "state_key": state_key}
        try:
            content: dict[str, Any] = await self.http.call(api.GetState, path)
        except Refused as refusal:
            if refusal.errcode == "M_NOT_FOUND":
                return None
            raise
        return content

    async def full_state(self, room_id: RoomId) -> list[dict[str, Any]]:
        """Return every state event of the room."""
        events: list[dict[str, Any]] = await self.http.call(api.GetFullState, {"room_id": room_id})
        return events

    async def members(self, room_id: RoomId, *, membership: api.MembershipName | None = None) -> list[dict[str, Any]]:
        """Return the room's `m.room.member` events, or those of one membership."""
        query = {"membership": membership}
        return (await self.http.typed(api.GetMembers, api.GetMembers.Response, {"room_id": room_id}, query=query)).chunk

    async def joined_members(self, room_id: RoomId) -> dict[UserId, api.JoinedMember]:
        """Return who is joined, with display name and avatar."""
        answer = await self.http.typed(api.GetJoinedMembers, api.GetJoinedMembers.Response, {"room_id": room_id})
        return answer.joined

    async def set_alias(self, alias: RoomAlias, room_id: RoomId) -> None:
        """Let an alias of our homeserver point to a room."""
        await self.http.call(directory.SetAlias, {"room_alias": alias}, body={"room_id": room_id})

    async def resolve_alias(self, alias: RoomAlias) -> directory.ResolveAlias.Response:
        """Return the room that an alias points to, and servers that are in it."""
        return await self.http.typed(directory.ResolveAlias, directory.ResolveAlias.Response, {"room_alias": alias})

    async def delete_alias(self, alias: RoomAlias) -> None:
        """Remove an alias."""
        await self.http.call(directory.DeleteAlias, {"room_alias": alias})

    async def aliases(self, room_id: RoomId) -> list[RoomAlias]:
        """Return the aliases that our homeserver knows for a room."""
        answer = await self.http.typed(directory.GetAliases, directory.GetAliases.Response, {"room_id": room_id})
        return answer.aliases

    async def set_directory_visibility(self, room_id: RoomId, visibility: Literal["public", "private"]) -> None:
        """List a room in the homeserver's directory, or take it out."""
        await self.http.call(directory.SetVisibility, {"room_id": room_id}, body={"visibility": visibility})

    async def public_rooms(
        self, *, search: str | None = None, limit: int | None = None, since: str | None = None
    ) -> directory.PublicRoomsPage:
        """Return a page of the room directory."""
        wanted = {"limit": limit, "since": since, "filter": None if search is None else {"generic_search_term": search}}
        body = {key: value for key, value in wanted.items() if value is not None}
        return await self.http.typed(directory.SearchPublicRooms, directory.PublicRoomsPage, body=body)
