"""Devices and keys of the users of a server, for end-to-end encryption.

https://spec.matrix.org/v1.19/server-server-api/#device-management
https://spec.matrix.org/v1.19/server-server-api/#end-to-end-encryption
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from tricord.clients.endpoint import Authentication, Endpoint, Model
from tricord.federation.api.fields import AUserId, Pdu
from tricord.protocol.identifiers import DeviceId


class UserDevice(Model):
    """A device, and the keys that it says are its own, if it has any."""

    device_id: DeviceId
    device_display_name: str | None = None
    keys: Pdu | None = None


class GetUserDevices(Endpoint):
    """Tell all devices of a user.

    https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1userdevicesuserid
    """

    method = "GET"
    path = "/_matrix/federation/v1/user/devices/{user_id}"
    authentication = Authentication.SIGNED_REQUEST
    hot = True
    body_kind = "none"

    class Response(Model):
        """The devices, as of a place in the stream of changes, and the user's cross-signing keys."""

        user_id: AUserId
        stream_id: int
        devices: list[UserDevice]
        master_key: Pdu | None = None
        self_signing_key: Pdu | None = None


class QueryKeys(Endpoint):
    """Tell the identity keys of devices.

    https://spec.matrix.org/v1.19/server-server-api/#post_matrixfederationv1userkeysquery
    """

    method = "POST"
    path = "/_matrix/federation/v1/user/keys/query"
    authentication = Authentication.SIGNED_REQUEST
    hot = True

    class Body(Model):
        """Users, and which of their devices; none means all."""

        device_keys: dict[AUserId, list[DeviceId]]

    class Response(Model):
        """Keys by user and device, and the users' cross-signing keys."""

        device_keys: dict[str, dict[str, Pdu]]
        master_keys: dict[str, Pdu] = Field(default_factory=dict)
        self_signing_keys: dict[str, Pdu] = Field(default_factory=dict)


class ClaimKeys(Endpoint):
    """Hand out one-time keys.

    https://spec.matrix.org/v1.19/server-server-api/#post_matrixfederationv1userkeysclaim
    """

    method = "POST"
    path = "/_matrix/federation/v1/user/keys/claim"
    authentication = Authentication.SIGNED_REQUEST
    hot = True

    class Body(Model):
        """The algorithm wanted, by user and device."""

        one_time_keys: dict[AUserId, dict[DeviceId, str]]

    class Response(Model):
        """A key by user and device, under its id."""

        one_time_keys: dict[str, dict[str, dict[str, Any]]]
