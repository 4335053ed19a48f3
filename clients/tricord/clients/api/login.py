"""Signing in and out, and fresh tokens.

https://spec.matrix.org/v1.19/client-server-api/#legacy-login
"""

from __future__ import annotations

from typing import Any

from tricord.clients.api.interactive_auth import AuthData, UserIdentifier
from tricord.clients.endpoint import Authentication, Endpoint, Model
from tricord.protocol.identifiers import DeviceId, UserId


class LoginFlow(Model):
    """A way to sign in."""

    type: str
    get_login_token: bool | None = None


class GetLoginFlows(Endpoint):
    """List the ways to sign in.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3login
    """

    method = "GET"
    path = "/_matrix/client/v3/login"
    authentication = Authentication.NONE
    hot = True
    body_kind = "none"

    class Response(Model):
        """Flows, the preferred one first."""

        flows: list[LoginFlow]


class Login(Endpoint):
    """Sign in, and get an access token.

    https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3login
    """

    method = "POST"
    path = "/_matrix/client/v3/login"
    authentication = Authentication.NONE
    hot = True
    # Too long a password is told so (400), which a body that is refused unread could not be.
    max_body = 2 << 20

    class Body(Model):
        """The flow, what it takes, and the device to sign in. `user`, `medium` and `address` are the older form."""

        type: str
        identifier: UserIdentifier | None = None
        user: str | None = None
        medium: str | None = None
        address: str | None = None
        password: str | None = None
        token: str | None = None
        device_id: str | None = None
        initial_device_display_name: str | None = None
        refresh_token: bool = False

    class Response(Model):
        """The session."""

        user_id: UserId
        access_token: str
        device_id: DeviceId
        home_server: str
        refresh_token: str | None = None
        expires_in_ms: int | None = None
        well_known: dict[str, Any] | None = None


class GetLoginToken(Endpoint):
    """Make a token with which another client can sign in once.

    https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv1loginget_token
    """

    method = "POST"
    path = "/_matrix/client/v1/login/get_token"

    class Body(Model):
        """Who asks shows who they are."""

        auth: AuthData | None = None

    class Response(Model):
        """The token and how long it lasts."""

        login_token: str
        expires_in_ms: int


class Refresh(Endpoint):
    """Get a new access token for a refresh token.

    https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3refresh
    """

    method = "POST"
    path = "/_matrix/client/v3/refresh"
    authentication = Authentication.NONE
    hot = True

    class Body(Model):
        """The refresh token."""

        refresh_token: str

    class Response(Model):
        """The new tokens; the old ones end when these are first used."""

        access_token: str
        refresh_token: str | None = None
        expires_in_ms: int | None = None


class Logout(Endpoint):
    """Sign out: the token and the device are gone.

    https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3logout
    """

    method = "POST"
    path = "/_matrix/client/v3/logout"
    authentication = Authentication.GUEST
    hot = True
    locked_users_too = True


class LogoutAll(Endpoint):
    """Sign out everywhere.

    https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3logoutall
    """

    method = "POST"
    path = "/_matrix/client/v3/logout/all"
    authentication = Authentication.GUEST
    locked_users_too = True
