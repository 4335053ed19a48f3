"""What the server can do that not every server can.

https://spec.matrix.org/v1.19/client-server-api/#capabilities-negotiation
"""

from __future__ import annotations

from typing import Any

from tricord.clients.endpoint import Authentication, Endpoint, Model


class GetCapabilities(Endpoint):
    """Return the capabilities.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3capabilities
    """

    method = "GET"
    path = "/_matrix/client/v3/capabilities"
    authentication = Authentication.GUEST
    hot = True
    body_kind = "none"

    class Response(Model):
        """Capabilities by name."""

        capabilities: dict[str, Any]
