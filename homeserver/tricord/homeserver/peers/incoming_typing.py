"""Users of other servers that are typing.

https://spec.matrix.org/v1.19/server-server-api/#typing-notifications
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from tricord.homeserver.peers.edus import user_of
from tricord.homeserver.rooms.typing import Typing
from tricord.protocol.errors import BadJson, Forbidden
from tricord.protocol.identifiers import RoomId, ServerName, UserId
from tricord.protocol.strict_json import JsonObject

# Other servers say it again after 25 to 40 seconds.
_LASTS_MS = 60_000


class Members(Protocol):
    """Who is in a room."""

    async def joined_members(self, room_id: RoomId) -> Collection[UserId]: ...


class AccessLists(Protocol):
    """Which servers a room keeps out."""

    async def check_acl(self, server: ServerName, room_id: RoomId) -> None:
        """Raise Forbidden if a server is not to take part in a room."""
        ...


class IncomingTyping:
    """Takes in `m.typing`."""

    def __init__(self, typing: Typing, members: Members, access: AccessLists) -> None:
        self._typing = typing
        self._members = members
        self._access = access

    async def receive(self, origin: ServerName, content: JsonObject) -> None:
        """Show a member as typing, or no longer."""
        user_id, room_id, is_typing = (
            user_of(origin, content.get("user_id")),
            content.get("room_id"),
            content.get("typing"),
        )
        if not isinstance(room_id, str) or "\0" in room_id or not isinstance(is_typing, bool):
            raise BadJson("`m.typing` names a room, and whether the user is typing")
        if user_id not in await self._members.joined_members(RoomId(room_id)):
            raise Forbidden(f"{user_id} is not in {room_id}")
        await self._access.check_acl(origin, RoomId(room_id))
        if is_typing:
            await self._typing.start(RoomId(room_id), user_id, _LASTS_MS, longest_ms=_LASTS_MS)
        else:
            await self._typing.stop(RoomId(room_id), user_id)
