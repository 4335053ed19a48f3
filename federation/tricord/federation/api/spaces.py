"""Spaces, and the rooms in them.

https://spec.matrix.org/v1.19/server-server-api/#spaces
"""

from __future__ import annotations

from tricord.clients.endpoint import Authentication, Endpoint, Model
from tricord.federation.api.fields import ARoomId, Pdu


class GetHierarchy(Endpoint):
    """Tell about a room and, if it is a space, the rooms directly in it.

    https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1hierarchyroomid
    """

    method = "GET"
    path = "/_matrix/federation/v1/hierarchy/{room_id}"
    authentication = Authentication.SIGNED_REQUEST
    hot = True
    body_kind = "none"

    class Query(Model):
        """Whether only children that the space suggests are wanted."""

        suggested_only: bool = False

    class Response(Model):
        """Summaries of rooms. Each is read by whoever shows it, so that a bad one harms only itself."""

        room: Pdu
        children: list[Pdu]
        inaccessible_children: list[ARoomId]
