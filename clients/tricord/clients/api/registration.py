"""Making an account.

https://spec.matrix.org/v1.19/client-server-api/#legacy-account-registration
"""

from __future__ import annotations

from typing import Literal

from tricord.clients.api.interactive_auth import AuthData
from tricord.clients.endpoint import Authentication, Endpoint, Model
from tricord.protocol.identifiers import DeviceId, UserId


class Register(Endpoint):
    """Make an account, and sign in to it.

    https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3register
    """

    method = "POST"
    path = "/_matrix/client/v3/register"
    authentication = Authentication.NONE
    hot = True
    # As at the login: too long a password is told so.
    max_body = 2 << 20

    class Query(Model):
        """Which kind of account."""

        kind: Literal["user", "guest"] = "user"

    class Body(Model):
        """The wanted name and password, and the device to sign in."""

        auth: AuthData | None = None
        username: str | None = None
        password: str | None = None
        device_id: str | None = None
        initial_device_display_name: str | None = None
        inhibit_login: bool = False
        refresh_token: bool = False
        guest_access_token: str | None = None

    class Response(Model):
        """The user id, and the session unless that was not wanted."""

        user_id: UserId
        home_server: str
        access_token: str | None = None
        device_id: DeviceId | None = None
        refresh_token: str | None = None
        expires_in_ms: int | None = None


class CheckUsername(Endpoint):
    """Say whether a name is free.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3registeravailable
    """

    method = "GET"
    path = "/_matrix/client/v3/register/available"
    authentication = Authentication.NONE
    hot = True
    body_kind = "none"

    class Query(Model):
        """The wanted localpart."""

        username: str

    class Response(Model):
        """Always true; a taken name is an error."""

        available: bool


class CheckRegistrationToken(Endpoint):
    """Say whether a registration token is still valid.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1registermloginregistration_tokenvalidity
    """

    method = "GET"
    path = "/_matrix/client/v1/register/m.login.registration_token/validity"
    authentication = Authentication.NONE
    body_kind = "none"

    class Query(Model):
        """The token."""

        token: str

    class Response(Model):
        """What can change until it is used."""

        valid: bool
