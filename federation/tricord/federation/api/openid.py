"""Who a user is that shows an OpenID token to somebody else.

https://spec.matrix.org/v1.19/server-server-api/#openid
"""

from __future__ import annotations

from tricord.clients.endpoint import Authentication, Endpoint, Model
from tricord.federation.api.fields import AUserId


class GetOpenIdUserInfo(Endpoint):
    """Tell whose token it is.

    https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1openiduserinfo
    """

    method = "GET"
    path = "/_matrix/federation/v1/openid/userinfo"
    authentication = Authentication.NONE
    body_kind = "none"

    class Query(Model):
        """The token."""

        access_token: str

    class Response(Model):
        """The user."""

        sub: AUserId
