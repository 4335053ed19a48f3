"""Receipts and read markers: up to where a user has read.

https://spec.matrix.org/v1.19/client-server-api/#receipts
https://spec.matrix.org/v1.19/client-server-api/#read-and-unread-markers
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from tricord.clients.endpoint import Authentication, Endpoint, Model


class SendReceipt(Endpoint):
    """Acknowledge a room's history up to an event.

    https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidreceiptreceipttypeeventid
    """

    method = "POST"
    path = "/_matrix/client/v3/rooms/{room_id}/receipt/{receipt_type}/{event_id}"
    authentication = Authentication.GUEST
    hot = True

    class Body(Model):
        """The thread the receipt is for; without one it covers the whole room."""

        # Checked by the server itself: a wrong `thread_id` is M_INVALID_PARAM, whatever its type.
        thread_id: Any = None


class SetReadMarkers(Endpoint):
    """Move the fully-read marker, and receipts with it.

    https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidread_markers
    """

    method = "POST"
    path = "/_matrix/client/v3/rooms/{room_id}/read_markers"
    authentication = Authentication.GUEST
    hot = True

    class Body(Model):
        """The events that the markers are put at."""

        fully_read: str | None = Field(None, alias="m.fully_read")
        read: str | None = Field(None, alias="m.read")
        read_private: str | None = Field(None, alias="m.read.private")
