"""Proving to another service who one is.

https://spec.matrix.org/v1.19/client-server-api/#openid
"""

from __future__ import annotations

from typing import Literal

from tricord.clients.endpoint import Endpoint, Model


class RequestOpenIdToken(Endpoint):
    """Get a token that tells a service who one is, and lets it do nothing else.

    https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3useruseridopenidrequest_token
    """

    method = "POST"
    path = "/_matrix/client/v3/user/{user_id}/openid/request_token"
    hot = True

    class Response(Model):
        """The token, whom to ask about it, and for how many seconds that can be done."""

        access_token: str
        token_type: Literal["Bearer"] = "Bearer"  # noqa: S105  # the kind of token
        matrix_server_name: str
        expires_in: int
