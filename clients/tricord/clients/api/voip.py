"""Voice over IP.

https://spec.matrix.org/v1.19/client-server-api/#voice-over-ip
"""

from __future__ import annotations

from pydantic import Field

from tricord.clients.endpoint import Authentication, Endpoint, Model


class GetTurnServer(Endpoint):
    """Return the TURN servers to relay calls over, with credentials for a while; without any of them, nothing.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3voipturnserver
    """

    method = "GET"
    path = "/_matrix/client/v3/voip/turnServer"
    authentication = Authentication.GUEST
    hot = True

    class Response(Model):
        """What to call a TURN server with."""

        username: str | None = None
        password: str | None = None
        uris: list[str] = Field([])
        ttl: int = 0
