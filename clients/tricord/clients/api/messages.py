"""The timeline of a room: sending into it, redacting, and reading it page by page or around an event.

https://spec.matrix.org/v1.19/client-server-api/#sending-events-to-a-room
https://spec.matrix.org/v1.19/client-server-api/#getting-events-for-a-room
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from tricord.clients.endpoint import Authentication, Endpoint, Model
from tricord.protocol.identifiers import EventId
from tricord.protocol.strict_json import MAX_INTEGER

Direction = Literal["b", "f"]


class EventIdResponse(Model):
    """The event that was sent."""

    event_id: EventId


class SendMessage(Endpoint):
    """Send a message event; the body is the content.

    https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3roomsroomidsendeventtypetxnid
    """

    method = "PUT"
    path = "/_matrix/client/v3/rooms/{room_id}/send/{event_type}/{txn_id}"
    authentication = Authentication.GUEST
    hot = True
    Response = EventIdResponse


class RedactEvent(Endpoint):
    """Strip an event of everything that the protocol does not need.

    https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3roomsroomidredacteventidtxnid
    """

    method = "PUT"
    path = "/_matrix/client/v3/rooms/{room_id}/redact/{event_id}/{txn_id}"
    hot = True

    # The body is content: further keys than `reason` become part of the event.
    Response = EventIdResponse


class GetMessages(Endpoint):
    """Read a page of a room's history.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidmessages
    """

    method = "GET"
    path = "/_matrix/client/v3/rooms/{room_id}/messages"
    hot = True
    authentication = Authentication.GUEST

    class Query(Model):
        """From where, in which direction, how much; `filter` is a RoomEventFilter as JSON."""

        dir: Direction
        from_: str | None = Field(None, alias="from")
        to: str | None = None
        limit: int = 10
        filter: str | None = None

    class Response(Model):
        """A page; without `end` there is nothing further."""

        start: str
        end: str | None = None
        chunk: list[Any]
        state: list[Any] | None = None


class GetContext(Endpoint):
    """Read an event with what came before and after it.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidcontexteventid
    """

    method = "GET"
    path = "/_matrix/client/v3/rooms/{room_id}/context/{event_id}"
    hot = True
    authentication = Authentication.GUEST

    class Query(Model):
        """How many events around it; `filter` is a RoomEventFilter as JSON."""

        limit: int = 10
        filter: str | None = None

    class Response(Model):
        """The event and its surroundings."""

        start: str
        end: str
        event: Any
        events_before: list[Any]
        events_after: list[Any]
        state: list[Any]


class GetEvent(Endpoint):
    """Read one event.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomideventeventid
    """

    method = "GET"
    path = "/_matrix/client/v3/rooms/{room_id}/event/{event_id}"
    authentication = Authentication.GUEST
    hot = True


class TimestampToEvent(Endpoint):
    """Find the event closest to a time, looking in one direction.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1roomsroomidtimestamp_to_event
    """

    method = "GET"
    path = "/_matrix/client/v1/rooms/{room_id}/timestamp_to_event"

    class Query(Model):
        """Milliseconds since 1970, and where to look from there."""

        ts: int = Field(ge=-MAX_INTEGER, le=MAX_INTEGER)
        dir: Direction

    class Response(Model):
        """The event found."""

        event_id: EventId
        origin_server_ts: int
