"""Looking into rooms without joining them, and the ways to follow them that came before `/sync`.

https://spec.matrix.org/v1.19/client-server-api/#room-previews
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from tricord.clients.endpoint import Authentication, Endpoint, Model
from tricord.protocol.identifiers import RoomId


class EventsChunk(Model):
    """Events between two positions."""

    start: str
    end: str
    chunk: list[Any]


class PeekIntoRoom(Endpoint):
    """Read the state of a room and its newest events.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidinitialsync
    """

    method = "GET"
    path = "/_matrix/client/v3/rooms/{room_id}/initialSync"
    authentication = Authentication.GUEST

    class Query(Model):
        """How many events."""

        limit: int = Field(20, ge=0)

    class Response(Model):
        """The room."""

        room_id: RoomId
        membership: str | None = None
        messages: EventsChunk
        state: list[Any]
        visibility: str
        account_data: list[Any]


class FollowEvents(Endpoint):
    """Wait for events, of one room or of all that one is in.

    https://spec.matrix.org/v1.19/client-server-api/#peeking_get_matrixclientv3events
    """

    method = "GET"
    path = "/_matrix/client/v3/events"
    authentication = Authentication.GUEST
    cancel_on_disconnect = True

    class Query(Model):
        """From where, for how many milliseconds, and of which room."""

        from_: str | None = Field(None, alias="from")
        timeout: int = Field(30_000, ge=0)
        room_id: RoomId | None = None

    Response = EventsChunk


class InitialSync(Endpoint):
    """Read the state of all rooms that one is in, and their newest events.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3initialsync
    """

    method = "GET"
    path = "/_matrix/client/v3/initialSync"

    class Query(Model):
        """How many events of each room, and whether of rooms that were left, too."""

        limit: int = Field(10, ge=0)
        archived: bool = False

    class Response(Model):
        """All rooms, and from where to go on."""

        end: str
        rooms: list[Any]
        presence: list[Any]
        account_data: list[Any]


class GetEventAlone(Endpoint):
    """Read an event of which one does not know the room.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3eventseventid
    """

    method = "GET"
    path = "/_matrix/client/v3/events/{event_id}"
