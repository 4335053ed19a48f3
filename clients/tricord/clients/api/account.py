"""One's own account: who one is, the password, the end of it.

https://spec.matrix.org/v1.19/client-server-api/#legacy-account-management
"""

from __future__ import annotations

from typing import Any

from tricord.clients.api.interactive_auth import AuthData
from tricord.clients.endpoint import Authentication, Endpoint, Model
from tricord.protocol.identifiers import DeviceId, UserId


class WhoAmI(Endpoint):
    """Say whose access token it is.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3accountwhoami
    """

    method = "GET"
    path = "/_matrix/client/v3/account/whoami"
    authentication = Authentication.GUEST
    body_kind = "none"
    hot = True

    class Response(Model):
        """The user and the device."""

        user_id: UserId
        device_id: DeviceId | None = None
        is_guest: bool = False


class ChangePassword(Endpoint):
    """Change the password, and by default sign out all other devices.

    https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3accountpassword
    """

    method = "POST"
    path = "/_matrix/client/v3/account/password"
    max_body = 2 << 20

    class Body(Model):
        """The new password."""

        new_password: str | None = None
        logout_devices: bool = True
        auth: AuthData | None = None


class Deactivate(Endpoint):
    """End the account for good.

    https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3accountdeactivate
    """

    method = "POST"
    path = "/_matrix/client/v3/account/deactivate"

    class Body(Model):
        """Whether what the user left is to be erased as far as possible."""

        erase: bool = False
        id_server: str | None = None
        auth: AuthData | None = None

    class Response(Model):
        """Whether identity servers have forgotten the user; there are none here, so: success."""

        id_server_unbind_result: str


class GetThirdPartyIds(Endpoint):
    """List the e-mail addresses and phone numbers of the account.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3account3pid
    """

    method = "GET"
    path = "/_matrix/client/v3/account/3pid"
    hot = True
    body_kind = "none"

    class Response(Model):
        """Third-party identifiers."""

        threepids: list[dict[str, Any]]
