"""What end-to-end encryption needs of a server."""

from __future__ import annotations

from collections.abc import Callable

from tricord.homeserver.accounts.interactive_auth import InteractiveAuth
from tricord.homeserver.assembly.foundation import Foundation, Run
from tricord.homeserver.assembly.network import Network
from tricord.homeserver.assembly.rooms import Rooms
from tricord.homeserver.client_api.cross_signing import CrossSigningApi
from tricord.homeserver.client_api.keys import ClientKeysApi
from tricord.homeserver.client_api.to_device import ToDeviceApi
from tricord.homeserver.encryption.cross_signing import CrossSigning
from tricord.homeserver.encryption.dehydrated_devices import DehydratedDevices
from tricord.homeserver.encryption.device_changes import DeviceChanges, WakeServers
from tricord.homeserver.encryption.device_keys import DeviceKeys
from tricord.homeserver.encryption.device_lists import DeviceLists
from tricord.homeserver.encryption.inboxes import Inboxes
from tricord.homeserver.encryption.introductions import Introductions
from tricord.homeserver.encryption.key_backups import KeyBackups
from tricord.homeserver.encryption.key_queries import KeyQueries
from tricord.homeserver.encryption.key_signatures import KeySignatures
from tricord.homeserver.encryption.remote_lists import RemoteLists
from tricord.homeserver.encryption.shown_keys import ShownKeys
from tricord.homeserver.encryption.to_device import ToDevice
from tricord.homeserver.peers.incoming_devices import IncomingDevices
from tricord.homeserver.peers.list_fetching import ListFetching
from tricord.homeserver.peers.remote_keys import RemoteKeys
from tricord.homeserver.serving.call import LateRoutes, Route


class Encryption:
    """Keys of devices and users, and messages between devices."""

    def __init__(self, base: Foundation, network: Network, rooms: Rooms) -> None:
        self.device_changes = DeviceChanges(base.server_name, base.publisher, rooms.memberships)
        self.device_keys = DeviceKeys(base.database, base.publisher, self.device_changes)
        self.to_device = ToDevice(base.server_name, base.database, base.publisher, base.clock)
        self.inboxes = Inboxes(base.database, rooms.changes)
        self.device_lists = DeviceLists(base.database, rooms.timeline)
        self.cross_signing = CrossSigning(base.database, self.device_changes)
        self._fetching = ListFetching(base.server_name, network.peers, network.health)
        self._remote_lists = RemoteLists(base.database, self.device_changes, self._fetching.wake)
        self.incoming = IncomingDevices(self.to_device, self._remote_lists, rooms.memberships)
        self.introductions = Introductions(base.database, base.publisher)
        self.queries = KeyQueries(
            base.server_name,
            base.database,
            self.device_keys,
            self.cross_signing,
            ShownKeys(base.database, base.publisher),
            RemoteKeys(network.peers, self._remote_lists),
            tells_device_names=base.settings.federation.device_names,
        )
        self._signatures = KeySignatures(
            base.database,
            base.publisher,
            self.device_changes,
            self.cross_signing,
            self.device_keys,
            self.queries.master_keys,
        )
        self._backups = KeyBackups(base.database)
        self._dehydrated = DehydratedDevices(
            base.database, self.inboxes, self.device_changes, base.publisher, base.clock
        )
        self._publisher = base.publisher

    def on_edus(self, wake_servers: WakeServers) -> None:
        """Call when something has been written for other servers."""
        self.to_device.on_edus(wake_servers)
        self.device_changes.on_edus(wake_servers)
        self.introductions.on_edus(wake_servers)

    @property
    def run(self) -> list[Run]:
        """Return the parts that live long."""
        return [self.to_device.run, self.introductions.run, self._fetch_lists]

    async def _fetch_lists(self) -> None:
        await self._fetching.run(self._remote_lists)

    def routes(self, auth: InteractiveAuth) -> list[Route | LateRoutes]:
        """Return what clients are answered; some have to show again who they are."""
        apis = (
            ClientKeysApi(self.device_keys, self.queries, self.device_lists, self._publisher),
            CrossSigningApi(self.cross_signing, self._signatures, auth),
            ToDeviceApi(self.to_device),
        )
        return [
            *(route for api in apis for route in api.routes()),
            LateRoutes("/_matrix/client/v3/room_keys", load=self._load_backups),
            LateRoutes("/_matrix/client/unstable/org.matrix.msc3814.v1", load=self._load_dehydrated),
        ]

    def _load_backups(self) -> Callable[[], list[Route]]:
        from tricord.homeserver.client_api.key_backups import KeyBackupsApi

        return KeyBackupsApi(self._backups).routes

    def _load_dehydrated(self) -> Callable[[], list[Route]]:
        from tricord.homeserver.client_api.dehydrated_devices import DehydratedDevicesApi

        return DehydratedDevicesApi(self._dehydrated).routes
