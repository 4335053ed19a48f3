"""Which rooms this server is in: those with a user of its own."""

from __future__ import annotations

from tricord.homeserver.rooms.memberships import Memberships
from tricord.homeserver.rooms.partial_rooms import PartialRooms
from tricord.homeserver.rooms.state import RoomState
from tricord.protocol.identifiers import RoomId, ServerName, UserId, server_name_of

_CREATE = ("m.room.create", "")


class Residence:
    """Knows where this server can act by itself."""

    def __init__(
        self, server_name: ServerName, memberships: Memberships, state: RoomState, partial_rooms: PartialRooms
    ) -> None:
        self.server_name = server_name
        self._memberships = memberships
        self._state = state
        self._partial_rooms = partial_rooms

    def is_local(self, user_id: UserId) -> bool:
        """Return whether a user is of this server."""
        return server_name_of(user_id) == self.server_name

    async def is_in(self, room_id: RoomId) -> bool:
        """Return whether a user of this server is in a room."""
        return any(self.is_local(user_id) for user_id in await self._memberships.joined_members_now(room_id))

    async def decides(self, room_id: RoomId) -> bool:
        """Return whether this server can let somebody into a room: it is in it, or nobody is and the room is here."""
        members = await self._memberships.joined_members_now(room_id)
        if members:
            return any(self.is_local(user_id) for user_id in members)
        if await self._partial_rooms.servers_without_members(room_id):
            return False  # somebody may be in it whom we never heard of
        return bool(await self._state.current(room_id, [_CREATE]))

    async def servers_in(self, room_id: RoomId) -> list[ServerName]:
        """Return the other servers in a room, those with most users first."""
        counts: dict[ServerName, int] = {}
        for user_id in await self._memberships.joined_members_now(room_id):
            server = server_name_of(user_id)
            counts[server] = counts.get(server, 0) + 1
        for server in await self._partial_rooms.servers_without_members(room_id):
            counts.setdefault(server, 0)
        counts.pop(self.server_name, None)
        return sorted(counts, key=lambda server: -counts[server])
