"""The state of rooms, their aliases, and the room directory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tricord.clients.api import directory, room_upgrades
from tricord.clients.api import rooms as api
from tricord.clients.calls.base import Calls, given
from tricord.clients.errors import Refused
from tricord.protocol.identifiers import EventId, RoomAlias, RoomId, UserId


class RoomCalls(Calls):
    """State, members, aliases, directory."""

    async def set_state(
        self, room_id: RoomId, event_type: str, content: dict[str, Any], state_key: str = ""
    ) -> EventId:
        """Set one piece of state, and return the event that says so.

        https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3roomsroomidstateeventtypestatekey
        """
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

    async def members(
        self, room_id: RoomId, *, membership: api.MembershipName | None = None, at: str | None = None
    ) -> list[dict[str, Any]]:
        """Return the room's `m.room.member` events, or those of one membership; `at` a position of a sync, or now."""
        query = {"membership": membership, "at": at}
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

    async def set_directory_visibility(self, room_id: RoomId, visibility: directory.Visibility) -> None:
        """List a room in the homeserver's directory, or take it out."""
        await self.http.call(directory.SetVisibility, {"room_id": room_id}, body={"visibility": visibility})

    async def directory_visibility(self, room_id: RoomId) -> directory.Visibility:
        """Return whether a room is listed in the homeserver's directory."""
        endpoint = directory.GetVisibility
        return (await self.http.typed(endpoint, endpoint.Response, {"room_id": room_id})).visibility

    async def public_rooms(
        self,
        *,
        search: str | None = None,
        limit: int | None = None,
        since: str | None = None,
        server: str | None = None,
        network: str | None = None,
        all_networks: bool = False,
    ) -> directory.PublicRoomsPage:
        """Return a page of a room directory, ours or that of another server; its `next_batch` is the next `since`.

        `network` is the instance of a bridged network whose rooms are wanted; `all_networks` are these and Matrix.

        https://spec.matrix.org/v1.19/client-server-api/#published-room-directory
        """
        page = directory.PublicRoomsPage
        if search is None and network is None and not all_networks:
            query = {"limit": limit, "since": since, "server": server}
            return await self.http.typed(directory.GetPublicRooms, page, query=query)
        body = given(
            {
                "limit": limit,
                "since": since,
                "filter": given({"generic_search_term": search}),
                "include_all_networks": all_networks or None,
                "third_party_instance_id": network,
            }
        )
        return await self.http.typed(directory.SearchPublicRooms, page, query={"server": server}, body=body)

    async def upgrade(self, room_id: RoomId, new_version: str, *, additional_creators: Sequence[UserId] = ()) -> RoomId:
        """Replace a room by one of another version, and return that.

        https://spec.matrix.org/v1.19/client-server-api/#room-upgrades
        """
        endpoint = room_upgrades.UpgradeRoom
        body = {"new_version": new_version, "additional_creators": list(additional_creators)}
        return (await self.http.typed(endpoint, endpoint.Response, {"room_id": room_id}, body=body)).replacement_room
