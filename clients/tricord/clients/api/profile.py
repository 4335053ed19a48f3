"""What users show of themselves.

https://spec.matrix.org/v1.19/client-server-api/#profiles
"""

from __future__ import annotations

from tricord.clients.endpoint import Authentication, Endpoint

_FIELD = "/_matrix/client/v3/profile/{user_id}/{field}"
# Where clients look that know fields of any name from before they were specified.
_BEFORE = "/_matrix/client/unstable/uk.tcpip.msc4133/profile/{user_id}"


class GetProfile(Endpoint):
    """Read the whole profile of a user.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3profileuserid
    """

    method = "GET"
    path = "/_matrix/client/v3/profile/{user_id}"
    also = (_BEFORE,)
    hot = True
    authentication = Authentication.OPTIONAL
    body_kind = "none"


class GetProfileField(Endpoint):
    """Read one field: an object with that key alone.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3profileuseridkeyname
    """

    method = "GET"
    path = _FIELD
    also = (f"{_BEFORE}/{{field}}",)
    authentication = Authentication.OPTIONAL
    hot = True
    body_kind = "none"


class SetProfileField(Endpoint):
    """Write one field; the body is an object with that key.

    https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3profileuseridkeyname
    """

    method = "PUT"
    path = _FIELD
    also = (f"{_BEFORE}/{{field}}",)
    hot = True
    suspended_users_too = False
    authentication = Authentication.GUEST
    # Larger than any profile may be, so that the refusal can name the profile's limit.
    max_body = 2 << 20


class DeleteProfileField(Endpoint):
    """Delete one field.

    https://spec.matrix.org/v1.19/client-server-api/#delete_matrixclientv3profileuseridkeyname
    """

    method = "DELETE"
    path = _FIELD
    also = (f"{_BEFORE}/{{field}}",)
    suspended_users_too = False
    authentication = Authentication.GUEST
