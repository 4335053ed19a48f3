"""Memberships that need the help of a server in the room: join, knock, leave, invite.

https://spec.matrix.org/v1.19/server-server-api/#joining-rooms
https://spec.matrix.org/v1.19/server-server-api/#knocking-upon-a-room
https://spec.matrix.org/v1.19/server-server-api/#inviting-to-a-room
https://spec.matrix.org/v1.19/server-server-api/#leaving-rooms-rejecting-invites
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from tricord.clients.endpoint import Authentication, Endpoint, Model
from tricord.federation.api.fields import Nothing, Pdu

# An event of 64 KiB, or one that is refused for its own size rather than with the whole request.
MAX_EVENT_BODY = 256 << 10
# An invitation brings events of the room along.
MAX_INVITE_BODY = 2 << 20


class VersionsQuery(Model):
    """The room versions that the asking server knows."""

    ver: list[str] = Field(default_factory=lambda: ["1"])


class TemplateResponse(Model):
    """What the membership event could be, and by the rules of which room version; none means version 1."""

    room_version: str = "1"
    event: Pdu


class MakeJoin(Endpoint):
    """Give a template of a join.

    https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1make_joinroomiduserid
    """

    method = "GET"
    path = "/_matrix/federation/v1/make_join/{room_id}/{user_id}"
    authentication = Authentication.SIGNED_REQUEST
    hot = True
    body_kind = "none"
    Query = VersionsQuery
    Response = TemplateResponse


class SendJoin(Endpoint):
    """Take a join, and tell the state of the room before it.

    https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv2send_joinroomideventid
    """

    method = "PUT"
    path = "/_matrix/federation/v2/send_join/{room_id}/{event_id}"
    authentication = Authentication.SIGNED_REQUEST
    hot = True
    max_body = MAX_EVENT_BODY

    class Query(Model):
        """Whether the members may be left out of the state."""

        omit_members: bool = False

    class Response(Model):
        """The join as it was taken, the state before it, and the auth chain of both."""

        event: Pdu | None = None
        state: list[Pdu]
        auth_chain: list[Pdu]
        members_omitted: bool = False
        servers_in_room: list[str] | None = None


class MakeKnock(Endpoint):
    """Give a template of a knock.

    https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1make_knockroomiduserid
    """

    method = "GET"
    path = "/_matrix/federation/v1/make_knock/{room_id}/{user_id}"
    authentication = Authentication.SIGNED_REQUEST
    body_kind = "none"
    Query = VersionsQuery
    Response = TemplateResponse


class SendKnock(Endpoint):
    """Take a knock, and tell what the room looks like from outside.

    https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv1send_knockroomideventid
    """

    method = "PUT"
    path = "/_matrix/federation/v1/send_knock/{room_id}/{event_id}"
    authentication = Authentication.SIGNED_REQUEST
    max_body = MAX_EVENT_BODY

    class Response(Model):
        """Events for the knocking user's client to show the room by."""

        knock_room_state: list[Pdu]


class MakeLeave(Endpoint):
    """Give a template of a leave.

    https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1make_leaveroomiduserid
    """

    method = "GET"
    path = "/_matrix/federation/v1/make_leave/{room_id}/{user_id}"
    authentication = Authentication.SIGNED_REQUEST
    hot = True
    body_kind = "none"
    Response = TemplateResponse


class SendLeave(Endpoint):
    """Take a leave.

    https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv2send_leaveroomideventid
    """

    method = "PUT"
    path = "/_matrix/federation/v2/send_leave/{room_id}/{event_id}"
    authentication = Authentication.SIGNED_REQUEST
    hot = True
    max_body = MAX_EVENT_BODY
    Response = Nothing


class InviteV1(Endpoint):
    """Sign an invitation to a room of version 1 or 2; the body is the event.

    https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv1inviteroomideventid
    """

    method = "PUT"
    path = "/_matrix/federation/v1/invite/{room_id}/{event_id}"
    authentication = Authentication.SIGNED_REQUEST
    max_body = MAX_INVITE_BODY
    # The answer is a list: 200, and an object with the event.


class Invite(Endpoint):
    """Sign an invitation.

    https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv2inviteroomideventid
    """

    method = "PUT"
    path = "/_matrix/federation/v2/invite/{room_id}/{event_id}"
    authentication = Authentication.SIGNED_REQUEST
    hot = True
    max_body = MAX_INVITE_BODY

    class Body(Model):
        """The invitation, and what the room looks like from outside."""

        room_version: str
        event: Pdu
        invite_room_state: list[Any] = Field(default_factory=list)

    class Response(Model):
        """The invitation with the invited server's signature too."""

        event: Pdu
