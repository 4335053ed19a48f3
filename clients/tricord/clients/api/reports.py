"""Telling those who run a server of what should not be there.

https://spec.matrix.org/v1.19/client-server-api/#reporting-content
"""

from __future__ import annotations

from pydantic import Field

from tricord.clients.endpoint import Endpoint, Model

MAX_REASON = 10_000


class ReportEvent(Endpoint):
    """Report an event of a room that one is in.

    https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidreporteventid
    """

    method = "POST"
    path = "/_matrix/client/v3/rooms/{room_id}/report/{event_id}"

    class Body(Model):
        """What is wrong with it."""

        reason: str | None = Field(None, max_length=MAX_REASON)


class ReportRoom(Endpoint):
    """Report a room, whether one is in it or not.

    https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidreport
    """

    method = "POST"
    path = "/_matrix/client/v3/rooms/{room_id}/report"
    also = ("/_matrix/client/unstable/org.matrix.msc4151/rooms/{room_id}/report",)

    class Body(Model):
        """What is wrong with it; may be empty."""

        reason: str = Field(max_length=MAX_REASON)


class ReportUser(Endpoint):
    """Report somebody, whether one shares a room with them or not.

    https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3usersuseridreport
    """

    method = "POST"
    path = "/_matrix/client/v3/users/{user_id}/report"
    also = ("/_matrix/client/unstable/org.matrix.msc4260/users/{user_id}/report",)

    class Body(Model):
        """What is wrong with them; may be empty."""

        reason: str = Field(max_length=MAX_REASON)
