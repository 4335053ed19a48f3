"""Devices and keys of users, for end-to-end encryption across servers."""

from __future__ import annotations

from tricord.clients.endpoint import Authentication, Endpoint


class GetUserDevices(Endpoint):
    """The devices of a user.

    https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1userdevicesuserid
    """

    method = "GET"
    path = "/_matrix/federation/v1/user/devices/{user_id}"
    authentication = Authentication.SIGNED_REQUEST


class QueryUserKeys(Endpoint):
    """The keys of users' devices.

    https://spec.matrix.org/v1.19/server-server-api/#post_matrixfederationv1userkeysquery
    """

    method = "POST"
    path = "/_matrix/federation/v1/user/keys/query"
    authentication = Authentication.SIGNED_REQUEST


class ClaimUserKeys(Endpoint):
    """One-time keys of users' devices.

    https://spec.matrix.org/v1.19/server-server-api/#post_matrixfederationv1userkeysclaim
    """

    method = "POST"
    path = "/_matrix/federation/v1/user/keys/claim"
    authentication = Authentication.SIGNED_REQUEST
