"""Routes of dehydrated devices."""

from __future__ import annotations

from typing import Any

import orjson

from tricord.clients.api.dehydrated_devices import (
    DeleteDehydratedDevice,
    GetDehydratedDevice,
    GetDehydratedDeviceEvents,
    PutDehydratedDevice,
    ReadDehydratedDeviceEvents,
)
from tricord.homeserver.accounts.sessions import check_device_name
from tricord.homeserver.encryption.dehydrated_devices import DehydratedDevices
from tricord.homeserver.encryption.device_keys import Upload
from tricord.homeserver.encryption.inboxes import MOST_AT_ONCE, Mail
from tricord.homeserver.serving.call import Call, Route
from tricord.homeserver.stream.tokens import decode_token, encode_token
from tricord.protocol.identifiers import DeviceId
from tricord.protocol.strict_json import JsonObject


class DehydratedDevicesApi:
    """One's own dehydrated device."""

    def __init__(self, devices: DehydratedDevices) -> None:
        self._devices = devices

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route(PutDehydratedDevice, self.put),
            Route(GetDehydratedDevice, self.get),
            Route(DeleteDehydratedDevice, self.delete),
            Route(GetDehydratedDeviceEvents, self.events),
            Route(ReadDehydratedDeviceEvents, self.events_by_body),
        ]

    async def put(self, call: Call[PutDehydratedDevice.Body, Any]) -> JsonObject:
        """Put a device in the place of the one that is there."""
        body = call.body
        name = body.initial_device_display_name
        upload = Upload(body.device_keys, body.one_time_keys, body.fallback_keys)
        await self._devices.put(
            call.requester.user_id,
            body.device_id,
            body.device_data,
            None if name is None else check_device_name(name),
            upload,
        )
        return {"device_id": body.device_id}

    async def get(self, call: Call[Any, Any]) -> JsonObject:
        """Answer the device."""
        device = await self._devices.of(call.requester.user_id)
        return {"device_id": device.device_id, "device_data": orjson.Fragment(device.data)}

    async def delete(self, call: Call[Any, Any]) -> JsonObject:
        """Delete the device."""
        return {"device_id": await self._devices.delete(call.requester.user_id)}

    async def events(self, call: Call[Any, GetDehydratedDeviceEvents.Query]) -> JsonObject:
        """Answer messages for the device."""
        mail, next_batch = await self._mail(call, call.query.after, call.query.limit)
        more = {} if mail.upto is None else {"next_batch": next_batch}
        return {"events": _events(mail), **more}

    async def events_by_body(self, call: Call[ReadDehydratedDeviceEvents.Body, Any]) -> JsonObject:
        """Answer the same as an earlier draft had it."""
        mail, next_batch = await self._mail(call, call.body.next_batch, MOST_AT_ONCE)
        return {"events": _events(mail), "next_batch": next_batch}

    async def _mail(self, call: Call[Any, Any], token: str | None, limit: int) -> tuple[Mail, str]:
        after = None if token is None else decode_token(token)
        device_id = DeviceId(call.path["device_id"])
        most = min(limit, MOST_AT_ONCE)
        mail, upto = await self._devices.mail(call.requester.user_id, device_id, after, most)
        return mail, encode_token(upto)


def _events(mail: Mail) -> list[orjson.Fragment]:
    return [orjson.Fragment(message) for message in mail.messages]
