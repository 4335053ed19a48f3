"""Route of messages from device to device."""

from __future__ import annotations

from typing import Any, cast

from tricord.clients.api.to_device import SendToDevice
from tricord.homeserver.encryption.to_device import Messages, ToDevice
from tricord.homeserver.serving.call import Call, Route
from tricord.protocol.errors import InvalidParam
from tricord.protocol.identifiers import DeviceId, fits
from tricord.protocol.strict_json import JsonObject


class ToDeviceApi:
    """Sending to devices."""

    def __init__(self, to_device: ToDevice) -> None:
        self._to_device = to_device

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [Route(SendToDevice, self.send)]

    async def send(self, call: Call[SendToDevice.Body, Any]) -> JsonObject:
        """Send messages to devices."""
        transaction_id = call.path["txn_id"]
        if not fits(transaction_id):
            raise InvalidParam("the transaction id is too long")
        requester = call.requester
        await self._to_device.send(
            requester.user_id,
            requester.device_id or DeviceId(""),
            transaction_id,
            call.path["event_type"],
            cast("Messages", call.body.messages),
        )
        return {}
