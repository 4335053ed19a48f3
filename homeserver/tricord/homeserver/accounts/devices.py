"""A user's own devices."""

from __future__ import annotations

from tricord.homeserver.accounts.sessions import KeysChanged, check_device_name
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.devices import Device, device_by_id, devices_of, rename_device
from tricord.protocol.errors import NotFound
from tricord.protocol.identifiers import DeviceId, UserId


class Devices:
    """Shows a user's devices and names them; `Sessions` ends them."""

    def __init__(self, database: Database, keys_changed: KeysChanged | None = None) -> None:
        self._database = database
        self._keys_changed = keys_changed

    async def all(self, user_id: UserId) -> list[Device]:
        """Return the devices of a user."""
        return await self._database.read(devices_of, user_id)

    async def one(self, user_id: UserId, device_id: DeviceId) -> Device:
        """Return a device; raise NotFound if the user has none of that id."""
        device = await self._database.read(device_by_id, user_id, _storable(device_id))
        if device is None:
            raise NotFound("there is no such device")
        return device

    async def rename(self, user_id: UserId, device_id: DeviceId, name: str) -> None:
        """Give a device another name; raise NotFound if the user has none of that id."""
        renamed, position = await self._database.run(
            rename_device, user_id, _storable(device_id), check_device_name(name)
        )
        if not renamed:
            raise NotFound("there is no such device")
        if position is not None and self._keys_changed is not None:
            await self._keys_changed(user_id, position)


def _storable(device_id: DeviceId) -> DeviceId:
    # PostgreSQL refuses NUL even to look for it.
    if "\0" in device_id:
        raise NotFound("there is no such device")
    return device_id
