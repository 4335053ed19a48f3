"""Messages from device to device.

https://spec.matrix.org/v1.19/client-server-api/#send-to-device-messaging
"""

from __future__ import annotations

from typing import Any

from tricord.clients.endpoint import Authentication, Endpoint, Model


class SendToDevice(Endpoint):
    """Send a message to each of some devices.

    https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3sendtodeviceeventtypetxnid
    """

    method = "PUT"
    path = "/_matrix/client/v3/sendToDevice/{event_type}/{txn_id}"
    hot = True
    authentication = Authentication.GUEST
    # One message for each device of a large room.
    max_body = 8 << 20

    class Body(Model):
        """Contents by user and device; the device `*` is all that the user has."""

        messages: dict[str, dict[str, dict[str, Any]]]
