"""What end-to-end encryption needs of a server."""

from __future__ import annotations

from tricord.homeserver.assembly.foundation import Foundation, Run
from tricord.homeserver.assembly.rooms import Rooms
from tricord.homeserver.client_api.keys import ClientKeysApi
from tricord.homeserver.client_api.to_device import ToDeviceApi
from tricord.homeserver.encryption.device_changes import DeviceChanges
from tricord.homeserver.encryption.device_keys import DeviceKeys
from tricord.homeserver.encryption.device_lists import DeviceLists
from tricord.homeserver.encryption.inboxes import Inboxes
from tricord.homeserver.encryption.key_queries import KeyQueries
from tricord.homeserver.encryption.to_device import ToDevice
from tricord.homeserver.serving.call import Route


class Encryption:
    """Keys of devices, and messages between them."""

    def __init__(self, base: Foundation, rooms: Rooms) -> None:
        self.device_changes = DeviceChanges(base.publisher, rooms.memberships)
        self.device_keys = DeviceKeys(base.database, base.publisher, self.device_changes)
        self.to_device = ToDevice(base.server_name, base.database, base.publisher, base.clock)
        self.inboxes = Inboxes(base.database, rooms.changes)
        self.device_lists = DeviceLists(base.database, rooms.timeline)
        self._apis = (
            ClientKeysApi(
                self.device_keys, KeyQueries(base.server_name, self.device_keys), self.device_lists, base.publisher
            ),
            ToDeviceApi(self.to_device),
        )

    @property
    def run(self) -> list[Run]:
        """Return the parts that live long."""
        return [self.to_device.run]

    def routes(self) -> list[Route]:
        """Return what clients are answered."""
        return [route for api in self._apis for route in api.routes()]
