"""The state of a room: setting it, reading it, its members.

https://spec.matrix.org/v1.19/client-server-api/#getting-events-for-a-room
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from tricord.clients.endpoint import Authentication, Endpoint, Model
from tricord.protocol.identifiers import EventId, UserId

# What an empty state key leaves of the path.
_WITHOUT_STATE_KEY = (
    "/_matrix/client/v3/rooms/{room_id}/state/{event_type}",
    "/_matrix/client/v3/rooms/{room_id}/state/{event_type}/",
)

MembershipName = Literal["join", "invite", "knock", "leave", "ban"]


class SetState(Endpoint):
    """Set one piece of a room's state; the body is the content.

    https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3roomsroomidstateeventtypestatekey
    """

    method = "PUT"
    path = "/_matrix/client/v3/rooms/{room_id}/state/{event_type}/{state_key}"
    also = _WITHOUT_STATE_KEY
    authentication = Authentication.GUEST
    hot = True

    class Response(Model):
        """The state event: a new one, or the current one if it says the same."""

        event_id: EventId


class GetState(Endpoint):
    """Read one piece of a room's state: its content, or the whole event.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidstateeventtypestatekey
    """

    method = "GET"
    path = "/_matrix/client/v3/rooms/{room_id}/state/{event_type}/{state_key}"
    also = _WITHOUT_STATE_KEY
    authentication = Authentication.GUEST
    hot = True

    class Query(Model):
        """In which form."""

        format: Literal["content", "event"] = "content"


class GetFullState(Endpoint):
    """Read the whole state of a room: a JSON array of events.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidstate
    """

    method = "GET"
    path = "/_matrix/client/v3/rooms/{room_id}/state"
    hot = True
    authentication = Authentication.GUEST


class GetMembers(Endpoint):
    """List the `m.room.member` events of a room.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidmembers
    """

    method = "GET"
    path = "/_matrix/client/v3/rooms/{room_id}/members"
    hot = True
    authentication = Authentication.GUEST

    class Query(Model):
        """Which members, and when."""

        at: str | None = None
        membership: MembershipName | None = None
        not_membership: MembershipName | None = None

    class Response(Model):
        """The member events."""

        chunk: list[Any]


class JoinedMember(Model):
    """What a member shows of themselves in a room."""

    display_name: str | None = None
    avatar_url: str | None = None


class GetJoinedMembers(Endpoint):
    """Map the joined members of a room to their names and pictures.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidjoined_members
    """

    method = "GET"
    path = "/_matrix/client/v3/rooms/{room_id}/joined_members"
    hot = True

    class Response(Model):
        """The joined members."""

        joined: dict[UserId, JoinedMember] = Field(default_factory=dict)
