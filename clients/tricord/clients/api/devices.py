"""The devices of an account.

https://spec.matrix.org/v1.19/client-server-api/#device-management
"""

from __future__ import annotations

from pydantic import Field

from tricord.clients.api.interactive_auth import AuthData
from tricord.clients.endpoint import Authentication, Endpoint, Model
from tricord.protocol.identifiers import DeviceId


class ClientDevice(Model):
    """A device as its owner sees it."""

    device_id: DeviceId
    display_name: str | None = None
    last_seen_ip: str | None = None
    last_seen_ts: int | None = None


class ListDevices(Endpoint):
    """List one's devices.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3devices
    """

    method = "GET"
    path = "/_matrix/client/v3/devices"
    authentication = Authentication.GUEST
    hot = True
    body_kind = "none"

    class Response(Model):
        """All of them."""

        devices: list[ClientDevice]


class GetDevice(Endpoint):
    """Read one device.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3devicesdeviceid
    """

    method = "GET"
    path = "/_matrix/client/v3/devices/{device_id}"
    authentication = Authentication.GUEST
    hot = True
    body_kind = "none"

    Response = ClientDevice


class RenameDevice(Endpoint):
    """Give a device another name.

    https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3devicesdeviceid
    """

    method = "PUT"
    path = "/_matrix/client/v3/devices/{device_id}"
    authentication = Authentication.GUEST
    hot = True

    class Body(Model):
        """The name; absent, nothing changes."""

        display_name: str | None = None


class DeleteDevice(Endpoint):
    """Delete a device, and sign it out.

    https://spec.matrix.org/v1.19/client-server-api/#delete_matrixclientv3devicesdeviceid
    """

    method = "DELETE"
    path = "/_matrix/client/v3/devices/{device_id}"
    hot = True

    class Body(Model):
        """Who deletes shows who they are."""

        auth: AuthData | None = None


class DeleteDevices(Endpoint):
    """Delete several devices, and sign them out.

    https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3delete_devices
    """

    method = "POST"
    path = "/_matrix/client/v3/delete_devices"
    hot = True

    class Body(Model):
        """Which ones."""

        devices: list[DeviceId] = Field(max_length=10_000)
        auth: AuthData | None = None
