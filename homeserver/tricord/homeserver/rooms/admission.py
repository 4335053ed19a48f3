"""Who is kept out by those who run the server, whatever a room itself says; `moderation/` decides it."""

from __future__ import annotations

from typing import Protocol

from tricord.protocol.identifiers import RoomId, UserId


class Admission(Protocol):
    """Decides over invitations and joins that this server takes part in."""

    async def check_invitation(self, sender: UserId, user_id: UserId, room_id: RoomId | None) -> None:
        """Raise Forbidden if somebody may not invite somebody to a room (None: one yet to be made)."""
        ...

    async def check_coming_in(self, user_id: UserId, room_id: RoomId) -> None:
        """Raise Forbidden if somebody may not join a room, or knock on it."""
        ...
