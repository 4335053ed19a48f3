"""Who is in a room: joining, inviting, knocking, leaving, kicking, banning, forgetting.

https://spec.matrix.org/v1.19/client-server-api/#room-membership
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from tricord.clients.endpoint import Authentication, Endpoint, Model
from tricord.protocol.identifiers import RoomId, UserId


class JoinBody(Model):
    """What may come with a join."""

    reason: str | None = None
    third_party_signed: dict[str, Any] | None = None


class WhyBody(Model):
    """A reason, perhaps."""

    reason: str | None = None


class WhomBody(Model):
    """Whose membership to change, and perhaps why."""

    user_id: UserId
    reason: str | None = None


class ViaQuery(Model):
    """Servers that are said to be in the room."""

    via: list[str] = Field(default_factory=list)
    # Until v1.12 the parameter had this name.
    server_name: list[str] = Field(default_factory=list)


class RoomIdResponse(Model):
    """The room that was joined or knocked upon."""

    room_id: RoomId


class JoinedRooms(Endpoint):
    """List the rooms the requester is joined to.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3joined_rooms
    """

    method = "GET"
    path = "/_matrix/client/v3/joined_rooms"
    hot = True

    class Response(Model):
        """The rooms, in no particular order."""

        joined_rooms: list[RoomId]


class JoinRoomById(Endpoint):
    """Join a room by its id.

    https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidjoin
    """

    method = "POST"
    path = "/_matrix/client/v3/rooms/{room_id}/join"
    hot = True
    suspended_users_too = False
    authentication = Authentication.GUEST
    Body = JoinBody
    Response = RoomIdResponse


class JoinRoom(Endpoint):
    """Join a room by its id or one of its aliases.

    https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3joinroomidoralias
    """

    method = "POST"
    path = "/_matrix/client/v3/join/{room_id_or_alias}"
    hot = True
    suspended_users_too = False
    authentication = Authentication.GUEST
    Query = ViaQuery
    Body = JoinBody
    Response = RoomIdResponse


class KnockRoom(Endpoint):
    """Ask to be invited to a room.

    https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3knockroomidoralias
    """

    method = "POST"
    path = "/_matrix/client/v3/knock/{room_id_or_alias}"
    hot = True
    suspended_users_too = False
    Query = ViaQuery
    Body = WhyBody
    Response = RoomIdResponse


class InviteUser(Endpoint):
    """Invite somebody, by user id or by third-party identifier.

    https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidinvite
    """

    method = "POST"
    path = "/_matrix/client/v3/rooms/{room_id}/invite"
    hot = True
    suspended_users_too = False

    class Body(Model):
        """Whom to invite: `user_id`, or the four parts of a third-party invitation."""

        user_id: UserId | None = None
        reason: str | None = None
        id_server: str | None = None
        id_access_token: str | None = None
        medium: str | None = None
        address: str | None = None


class LeaveRoom(Endpoint):
    """Leave a room, reject an invitation or take back a knock.

    https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidleave
    """

    method = "POST"
    path = "/_matrix/client/v3/rooms/{room_id}/leave"
    authentication = Authentication.GUEST
    hot = True
    Body = WhyBody


class ForgetRoom(Endpoint):
    """Forget a room that was left: its history can no longer be read.

    https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidforget
    """

    method = "POST"
    path = "/_matrix/client/v3/rooms/{room_id}/forget"
    hot = True


class KickUser(Endpoint):
    """Make somebody leave, reject their knock or take back their invitation.

    https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidkick
    """

    method = "POST"
    path = "/_matrix/client/v3/rooms/{room_id}/kick"
    hot = True
    suspended_users_too = False
    Body = WhomBody


class BanUser(Endpoint):
    """Ban somebody from a room.

    https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidban
    """

    method = "POST"
    path = "/_matrix/client/v3/rooms/{room_id}/ban"
    hot = True
    suspended_users_too = False
    Body = WhomBody


class UnbanUser(Endpoint):
    """Lift a ban.

    https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidunban
    """

    method = "POST"
    path = "/_matrix/client/v3/rooms/{room_id}/unban"
    hot = True
    suspended_users_too = False
    Body = WhomBody
