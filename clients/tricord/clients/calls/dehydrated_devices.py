"""A dehydrated device, which takes in messages while its user is signed in nowhere.

https://github.com/matrix-org/matrix-spec-proposals/pull/3814
"""

from __future__ import annotations

from typing import Any

from tricord.clients.api import dehydrated_devices as api
from tricord.clients.api.dehydrated_devices import DehydratedDeviceEvents
from tricord.clients.calls.base import Calls, given
from tricord.protocol.identifiers import DeviceId


class DehydratedDeviceCalls(Calls):
    """Putting a device there, reading it and the messages for it."""

    async def put_dehydrated_device(
        self,
        device_id: DeviceId,
        device_data: dict[str, Any],
        device_keys: dict[str, Any],
        *,
        one_time_keys: dict[str, Any] | None = None,
        fallback_keys: dict[str, Any] | None = None,
        display_name: str | None = None,
    ) -> DeviceId:
        """Put a device in the place of the one that is there, whose messages go with it."""
        body = {"device_id": device_id, "device_data": device_data, "device_keys": device_keys} | given(
            {
                "one_time_keys": one_time_keys,
                "fallback_keys": fallback_keys,
                "initial_device_display_name": display_name,
            }
        )
        return (await self.http.typed(api.PutDehydratedDevice, api.DehydratedDeviceId, body=body)).device_id

    async def dehydrated_device(self) -> api.GetDehydratedDevice.Response:
        """Return the device."""
        return await self.http.typed(api.GetDehydratedDevice, api.GetDehydratedDevice.Response)

    async def delete_dehydrated_device(self) -> DeviceId:
        """Delete the device, and the messages for it; return which it was."""
        return (await self.http.typed(api.DeleteDehydratedDevice, api.DehydratedDeviceId)).device_id

    async def dehydrated_device_events(
        self, device_id: DeviceId, *, after: str | None = None, limit: int = 100
    ) -> DehydratedDeviceEvents:
        """Return messages for the device; without `next_batch` there are no more. They stay as long as the device."""
        query = given({"from": after, "limit": limit})
        path = {"device_id": device_id}
        return await self.http.typed(api.GetDehydratedDeviceEvents, DehydratedDeviceEvents, path, query=query)
