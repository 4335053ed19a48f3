"""What scripts made for Synapse use: `register_new_matrix_user` and its like.

https://element-hq.github.io/synapse/latest/admin_api/register_api.html
"""

from __future__ import annotations

from tricord.clients.api.registration import Register
from tricord.clients.endpoint import Authentication, Endpoint, Model

_REGISTER = "/_synapse/admin/v1/register"


class GetRegistrationNonce(Endpoint):
    """Return a nonce to sign a registration with."""

    method = "GET"
    path = _REGISTER
    authentication = Authentication.NONE
    body_kind = "none"

    class Response(Model):
        """Good for a minute."""

        nonce: str


class RegisterWithSharedSecret(Endpoint):
    """Make an account, proving by a MAC that one knows the shared secret."""

    method = "POST"
    path = _REGISTER
    authentication = Authentication.NONE
    max_body = 2 << 20

    class Body(Model):
        """The account, and HMAC-SHA1 over nonce, name, password, `admin` or `notadmin` and the user type."""

        nonce: str
        username: str
        password: str
        mac: str
        admin: bool = False
        user_type: str | None = None
        displayname: str | None = None
        inhibit_login: bool = False

    Response = Register.Response
