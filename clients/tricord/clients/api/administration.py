"""What administrators of a server do to accounts.

https://spec.matrix.org/v1.19/client-server-api/#server-administration
"""

from __future__ import annotations

from typing import Any

from pydantic import StrictBool

from tricord.clients.endpoint import Authentication, Endpoint, Model
from tricord.protocol.identifiers import UserId


class Locked(Model):
    """Whether an account is locked."""

    locked: StrictBool


class Suspended(Model):
    """Whether an account is suspended."""

    suspended: StrictBool


class GetLocked(Endpoint):
    """Return whether an account is locked.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1adminlockuserid
    """

    method = "GET"
    path = "/_matrix/client/v1/admin/lock/{user_id}"
    authentication = Authentication.ADMIN
    Response = Locked


class SetLocked(Endpoint):
    """Lock an account, or unlock it.

    https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv1adminlockuserid
    """

    method = "PUT"
    path = "/_matrix/client/v1/admin/lock/{user_id}"
    authentication = Authentication.ADMIN
    Body = Locked
    Response = Locked


class GetSuspended(Endpoint):
    """Return whether an account is suspended.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1adminsuspenduserid
    """

    method = "GET"
    path = "/_matrix/client/v1/admin/suspend/{user_id}"
    authentication = Authentication.ADMIN
    Response = Suspended


class SetSuspended(Endpoint):
    """Suspend an account, or let it do everything again.

    https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv1adminsuspenduserid
    """

    method = "PUT"
    path = "/_matrix/client/v1/admin/suspend/{user_id}"
    authentication = Authentication.ADMIN
    Body = Suspended
    Response = Suspended


class WhoIs(Endpoint):
    """Return from where one's devices were last used; administrators may ask about others.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3adminwhoisuserid
    """

    method = "GET"
    path = "/_matrix/client/v3/admin/whois/{user_id}"

    class Response(Model):
        """The user's devices by their ids."""

        user_id: UserId
        devices: dict[str, Any]
