"""A device with what backups and shared secrets stand on, for tests."""

from __future__ import annotations

import vodozemac

from tests.clients.encryption.directory import Directory
from tricord.clients.encryption.cross_signing import CrossSigning
from tricord.clients.encryption.key_backup import KeyBackup
from tricord.clients.encryption.machine import Machine
from tricord.clients.encryption.secret_sharing import SecretSharing
from tricord.clients.encryption.store import Store
from tricord.clients.encryption.stored import outgoing
from tricord.clients.encryption.stored.room_keys import Origin, RoomKey
from tricord.protocol.identifiers import DeviceId, RoomId, UserId
from tricord.protocol.strict_json import JsonObject

ALICE = UserId("@alice:example.org")
ROOM = RoomId("!room:example.org")


class Assembled:
    """A device of Alice's."""

    def __init__(self, directory: Directory, device_id: str, *, shares: bool = True) -> None:
        self.directory = directory
        self.now_ms = 1_000_000
        self.device_id = DeviceId(device_id)
        self.store = Store(None)
        self.machine = Machine(self.store, ALICE, self.device_id, clock=self._clock)
        self.own, self.lists, self.megolm = self.machine.own, self.machine.lists, self.machine.megolm
        self.signing = CrossSigning(self.store, ALICE, self.device_id, self._sign)
        self.backup = KeyBackup(self.store, self.own, self.signing, self.megolm, self._clock)
        self.sharing = SecretSharing(
            self.store, self.own, self.signing, self.backup, self.machine.claims, self._clock, shares=shares
        )
        directory.publish_device(ALICE, self.device_id, self.own.device_keys())
        self.query()

    def _clock(self) -> int:
        return self.now_ms

    def _sign(self, message: bytes) -> str:
        return self.own.account().sign(message).to_base64()

    def query(self) -> None:
        """Ask for the keys of our devices."""
        with self.store.transaction():
            self.lists.changed([ALICE])
            for query in self.lists.requests(self.now_ms):
                self.lists.answered(query, self.directory.published, self.now_ms)

    def set_up(self) -> None:
        """Make an identity and publish it."""
        with self.store.transaction():
            keys = self.signing.prepare()
            self.signing.adopt()
        self.directory.publish(ALICE, keys)
        self.upload()

    def upload(self) -> None:
        """Publish the signatures that wait for it."""
        with self.store.transaction():
            for request in outgoing.oldest(self.store, 100):
                if type(request).__name__ == "SignaturesUpload":
                    for user_id, signed in (request.body or {}).items():
                        for name, value in signed.items():
                            self.directory.take_signature(user_id, name, value)
                    outgoing.done(self.store, request.request_id)
        self.query()

    def trust(self, other: Assembled) -> None:
        """Verify another device, and let it know that the identity is its own."""
        self.query()
        with self.store.transaction():
            self.signing.verify_device(ALICE, other.device_id, other.own.ed25519)
        self.upload()
        other.query()
        identity = self.signing.identity
        assert identity is not None
        with other.store.transaction():
            other.signing.accept_own_identity(identity.master)

    def add_keys(self, count: int, *, origin: Origin = Origin.RECEIVED) -> list[RoomKey]:
        """Make sessions, as if we had been given their keys."""
        keys = []
        for _ in range(count):
            group = vodozemac.GroupSession()
            session = vodozemac.InboundGroupSession(group.session_key)
            key = RoomKey(ROOM, group.session_id, session, self.own.curve25519, self.own.ed25519, ALICE, origin)
            keys.append(key)
        with self.store.transaction():
            for key in keys:
                self.megolm.add(key)
        return keys

    def to_devices(self, event_type: str) -> list[tuple[DeviceId, JsonObject]]:
        """Return the messages that wait to be sent to devices, and forget them."""
        found = []
        with self.store.transaction():
            for request in outgoing.oldest(self.store, 100):
                if request.path.get("event_type") == event_type:
                    outgoing.done(self.store, request.request_id)
                    messages = (request.body or {})["messages"][ALICE]
                    found += [(DeviceId(device_id), content) for device_id, content in messages.items()]
        return found
