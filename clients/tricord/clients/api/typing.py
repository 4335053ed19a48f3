"""Typing notifications.

https://spec.matrix.org/v1.19/client-server-api/#typing-notifications
"""

from __future__ import annotations

from tricord.clients.endpoint import Authentication, Endpoint, Model


class SetTyping(Endpoint):
    """Tell a room that the user has started or stopped typing.

    https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3roomsroomidtypinguserid
    """

    method = "PUT"
    path = "/_matrix/client/v3/rooms/{room_id}/typing/{user_id}"
    authentication = Authentication.GUEST
    hot = True

    class Body(Model):
        """Whether, and for how many milliseconds."""

        typing: bool
        timeout: int = 30_000
