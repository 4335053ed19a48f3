"""Refusing those who are not in a room."""

from __future__ import annotations

from tricord.homeserver.rooms.memberships import Memberships
from tricord.protocol.errors import Forbidden
from tricord.protocol.identifiers import RoomId, UserId


async def check_joined(memberships: Memberships, user_id: UserId, room_id: RoomId) -> None:
    """Refuse users who are not in the room; whether there is such a room is none of their business."""
    if room_id not in await memberships.joined_rooms(user_id):
        raise Forbidden(f"{user_id} is not in {room_id}")
