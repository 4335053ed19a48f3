"""What a device does for its user beside reading and writing: the identity, the backup, secrets, verifications.

It stands on a machine, which hands it what comes and takes along what it wants to send.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tricord.clients.encryption.cross_signing import CrossSigning
from tricord.clients.encryption.device_lists import Changes
from tricord.clients.encryption.history_sharing import EVENT_TYPE as BUNDLE
from tricord.clients.encryption.history_sharing import HistorySharing
from tricord.clients.encryption.key_backup import KeyBackup
from tricord.clients.encryption.machine import Machine, ToDevice
from tricord.clients.encryption.requests import BackupPut
from tricord.clients.encryption.secret_sharing import REQUEST as SECRET_REQUEST
from tricord.clients.encryption.secret_sharing import SEND as SECRET_SEND
from tricord.clients.encryption.secret_sharing import SecretSharing
from tricord.clients.encryption.stored import rooms as stored_rooms
from tricord.clients.encryption.verification.flow import Verifications
from tricord.clients.encryption.verification.messages import ALL_TYPES, SAS
from tricord.clients.encryption.verification.sas import Party
from tricord.protocol.identifiers import UserId


class OwnIdentity:
    """The identity of a machine's user, as far as this device has a part in it."""

    def __init__(
        self,
        machine: Machine,
        clock: Callable[[], int],
        *,
        methods: Sequence[str] = (SAS,),
        shares_secrets: bool = True,
    ) -> None:
        """Take part in what the machine does. `methods` are the ways of verifying that the program can show."""
        store, own = machine.store, machine.own
        self.machine = machine
        self._clock = clock
        self.cross_signing = CrossSigning(
            store, machine.user_id, machine.device_id, lambda message: own.account().sign(message).to_base64()
        )
        self.backup = KeyBackup(store, own, self.cross_signing, machine.megolm, clock)
        self.secrets = SecretSharing(
            store, own, self.cross_signing, self.backup, machine.claims, clock, shares=shares_secrets
        )
        self.verifications = Verifications(
            store,
            Party(machine.user_id, machine.device_id),
            own.ed25519,
            self.cross_signing,
            want_devices=self._want_devices,
            methods=methods,
        )
        self.history = HistorySharing(store, machine.lists, machine.megolm, machine.claims, clock)
        for event_type in ALL_TYPES:
            machine.on_to_device(event_type, self._receive_verification)
        machine.on_to_device(SECRET_REQUEST, lambda message: self.secrets.asked(message.sender, message.content))
        machine.on_to_device(SECRET_SEND, self._receive_secret)
        machine.on_to_device(BUNDLE, self._receive_bundle)
        machine.on_changes(self._receive_changes)
        machine.add_source(BackupPut, self.backup)

    def settle(self) -> None:
        """Do what follows from what people did: whom they verified gets keys, and is asked for secrets."""
        store = self.machine.store
        with store.transaction():
            for proven in self.verifications.take_proven():
                stored_rooms.recipients_changed(store, [proven.user_id])
                if proven.user_id == self.machine.user_id:
                    self.secrets.ask_for_missing()

    def tick(self) -> None:
        """Do what is to be done when time passes: end verifications that took too long."""
        self.verifications.tick(self._clock())

    def _want_devices(self, user_id: UserId) -> None:
        with self.machine.store.transaction():
            self.machine.lists.follow([user_id])
            self.machine.lists.changed([user_id])

    def _receive_verification(self, message: ToDevice) -> None:
        self.verifications.receive(message.event_type, message.sender, message.content, self._clock())
        self.settle()

    def _receive_secret(self, message: ToDevice) -> None:
        if message.olm is not None:
            self.secrets.sent(message.olm)

    def _receive_bundle(self, message: ToDevice) -> None:
        if message.olm is not None:
            self.history.receive(message.olm)

    def _receive_changes(self, changes: Changes) -> None:
        users = changes.users()
        self.cross_signing.notice(users)
        if self.machine.user_id in users:
            self.cross_signing.vouch_for_this_device()
            self.secrets.ask_for_missing()
        now_ms = self._clock()
        waiting = self.verifications.waiting_for()
        self.verifications.devices_known(
            [user_id for user_id in waiting if not self.machine.lists.lacks([user_id], now_ms)], now_ms
        )
        self.settle()
