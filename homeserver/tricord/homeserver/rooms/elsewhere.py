"""What users do in rooms of other servers, as far as rooms know of it; `peers/` does it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from tricord.homeserver.rooms.drafts import Draft
from tricord.protocol.identifiers import EventId, RoomId, ServerName, UserId
from tricord.protocol.strict_json import JsonObject


class Elsewhere(Protocol):
    """Memberships that other servers take part in."""

    async def join(
        self, user_id: UserId, room_id: RoomId, servers: Sequence[ServerName], content: JsonObject
    ) -> EventId:
        """Join a room that this server is not in, or that it cannot let the user into by itself."""
        ...

    async def leave(self, user_id: UserId, room_id: RoomId, content: JsonObject) -> EventId:
        """Reject an invitation, or take back a knock, in a room that this server is not in."""
        ...

    async def knock(
        self, user_id: UserId, room_id: RoomId, servers: Sequence[ServerName], content: JsonObject
    ) -> EventId:
        """Knock on a room that this server is not in."""
        ...

    async def invite(self, draft: Draft, user_id: UserId) -> EventId:
        """Invite a user of another server to a room that this server is in."""
        ...
