"""Presence: who is there.

https://spec.matrix.org/v1.19/client-server-api/#presence
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tricord.clients.endpoint import Endpoint, Model


class SetPresence(Endpoint):
    """Say whether one is there, and what one is doing.

    https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3presenceuseridstatus
    """

    method = "PUT"
    path = "/_matrix/client/v3/presence/{user_id}/status"
    hot = True

    class Body(Model):
        """The new state."""

        presence: Literal["online", "offline", "unavailable"]
        status_msg: str | None = Field(None, max_length=1024, pattern=r"^[^\x00]*$")


class GetPresence(Endpoint):
    """Ask for the state of somebody one shares a room with.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3presenceuseridstatus
    """

    method = "GET"
    path = "/_matrix/client/v3/presence/{user_id}/status"
    hot = True
    body_kind = "none"

    class Response(Model):
        """The state now."""

        presence: Literal["online", "offline", "unavailable"]
        last_active_ago: int | None = None
        status_msg: str | None = None
        currently_active: bool | None = None
