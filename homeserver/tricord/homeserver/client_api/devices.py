"""Routes of one's own devices."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from tricord.clients.api.devices import (
    DeleteDevice,
    DeleteDevices,
    GetDevice,
    ListDevices,
    RenameDevice,
)
from tricord.homeserver.accounts.devices import Devices
from tricord.homeserver.accounts.interactive_auth import InteractiveAuth
from tricord.homeserver.accounts.sessions import Sessions
from tricord.homeserver.client_api.interactive import require_same_user
from tricord.homeserver.serving.call import Call, Route
from tricord.protocol.identifiers import DeviceId
from tricord.protocol.strict_json import JsonObject


class DevicesApi:
    """One's own devices."""

    def __init__(self, devices: Devices, sessions: Sessions, auth: InteractiveAuth) -> None:
        self._devices = devices
        self._sessions = sessions
        self._auth = auth

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route(ListDevices, self.all),
            Route(GetDevice, self.get),
            Route(RenameDevice, self.rename),
            Route(DeleteDevice, self.delete),
            Route(DeleteDevices, self.delete_many),
        ]

    # What is not known is null rather than left out: matrix-nio, for one, wants every key.
    async def all(self, call: Call[Any, Any]) -> JsonObject:
        """Answer which devices there are."""
        return {"devices": [asdict(device) for device in await self._devices.all(call.requester.user_id)]}

    async def get(self, call: Call[Any, Any]) -> JsonObject:
        """Answer what is known of a device."""
        return asdict(await self._devices.one(call.requester.user_id, DeviceId(call.path["device_id"])))

    async def rename(self, call: Call[RenameDevice.Body, Any]) -> JsonObject:
        """Give a device another name."""
        user_id, device_id = call.requester.user_id, DeviceId(call.path["device_id"])
        if call.body.display_name is None:
            await self._devices.one(user_id, device_id)
        else:
            await self._devices.rename(user_id, device_id, call.body.display_name)
        return {}

    async def delete(self, call: Call[DeleteDevice.Body, Any]) -> JsonObject:
        """Delete a device."""
        await require_same_user(self._auth, call)
        await self._sessions.end(call.requester.user_id, [DeviceId(call.path["device_id"])])
        return {}

    async def delete_many(self, call: Call[DeleteDevices.Body, Any]) -> JsonObject:
        """Delete several devices."""
        await require_same_user(self._auth, call)
        await self._sessions.end(call.requester.user_id, call.body.devices)
        return {}
