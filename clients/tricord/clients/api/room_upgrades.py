"""Replacing a room by one of another version.

https://spec.matrix.org/v1.19/client-server-api/#room-upgrades
"""

from __future__ import annotations

from pydantic import Field

from tricord.clients.endpoint import Endpoint, Model
from tricord.protocol.identifiers import RoomId, UserId


class UpgradeRoom(Endpoint):
    """Replace a room by a new one.

    https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidupgrade
    """

    method = "POST"
    path = "/_matrix/client/v3/rooms/{room_id}/upgrade"
    suspended_users_too = False

    class Body(Model):
        """The version of the new room, and who counts as its creator beside the requester."""

        new_version: str
        additional_creators: list[UserId] = Field(default_factory=list, max_length=500)

    class Response(Model):
        """The new room."""

        replacement_room: RoomId
