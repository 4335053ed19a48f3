"""What rooms ask about people; accounts answer it."""

from __future__ import annotations

from typing import Protocol

from tricord.protocol.identifiers import RoomId, UserId
from tricord.protocol.strict_json import JsonObject


class Profiles(Protocol):
    """What a user shows of themselves."""

    async def member_profile(self, user_id: UserId) -> JsonObject:
        """Return `displayname` and `avatar_url` as member events carry them; what is not set is absent."""
        ...


class NoticeRooms(Protocol):
    """Rooms in which those who run the server talk to a user."""

    async def must_stay_invited(self, user_id: UserId, room_id: RoomId) -> bool:
        """Return whether a user may not decline to be in a room."""
        ...


class MovingIn(Protocol):
    """What a user takes along into a room that replaces another one."""

    async def move_in(self, user_id: UserId, room_id: RoomId) -> None:
        """Carry over what the user had set for the room's predecessor, if it has one."""
        ...
