"""Filters that are kept on the server, so that a request can name one.

https://spec.matrix.org/v1.19/client-server-api/#filtering
"""

from __future__ import annotations

from tricord.clients.endpoint import Authentication, Endpoint, Model


class CreateFilter(Endpoint):
    """Keep a filter; the body is its definition.

    https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3useruseridfilter
    """

    method = "POST"
    path = "/_matrix/client/v3/user/{user_id}/filter"
    authentication = Authentication.GUEST
    hot = True
    max_body = 64 << 10

    class Response(Model):
        """The id to name it by."""

        filter_id: str


class GetFilter(Endpoint):
    """Read a filter's definition.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3useruseridfilterfilterid
    """

    method = "GET"
    path = "/_matrix/client/v3/user/{user_id}/filter/{filter_id}"
    authentication = Authentication.GUEST
    hot = True
    body_kind = "none"
