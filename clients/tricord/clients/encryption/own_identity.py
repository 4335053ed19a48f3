"""What a device does for its user beside reading and writing: the identity, the backup, secrets, verifications.

It stands on a machine, which hands it what comes and takes along what it wants to send.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from tricord.clients.encryption.cross_signing import CrossSigning
from tricord.clients.encryption.device_lists import Changes
from tricord.clients.encryption.history_sharing import EVENT_TYPE as BUNDLE
from tricord.clients.encryption.history_sharing import HistorySharing
from tricord.clients.encryption.inbox import ToDevice
from tricord.clients.encryption.key_backup import KeyBackup
from tricord.clients.encryption.machine import Machine
from tricord.clients.encryption.requests import BackupPut
from tricord.clients.encryption.secret_sharing import REQUEST as SECRET_REQUEST
from tricord.clients.encryption.secret_sharing import SEND as SECRET_SEND
from tricord.clients.encryption.secret_sharing import SecretSharing
from tricord.clients.encryption.stored import rooms as stored_rooms
from tricord.clients.encryption.verification.flow import Verifications
from tricord.clients.encryption.verification.messages import ALL_TYPES, SAS
from tricord.clients.encryption.verification.sas import Party
from tricord.protocol.identifiers import EventId, RoomId, UserId
from tricord.protocol.strict_json import JsonObject

_log = logging.getLogger(__name__)


class OwnIdentity:
    """The identity of a machine's user, as far as this device has a part in it."""

    def __init__(
        self,
        machine: Machine,
        *,
        methods: Sequence[str] = (SAS,),
        shares_secrets: bool = True,
    ) -> None:
        """Take part in what the machine does. `methods` are the ways of verifying that the program can show."""
        store, own = machine.store, machine.own
        self.machine = machine
        clock = self._clock = machine.now_ms
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

    @property
    def wants_to_look_at_backup(self) -> bool:
        """Whether the homeserver is to be asked which backup there is: if one could be ours."""
        return self.backup.must_look and (self.cross_signing.is_verified or self.backup.could_be_used)

    def take_invitations(self, content: JsonObject) -> None:
        """Take in a sync's invitations: whoever sends one may send the keys of what was said before."""
        rooms = content.get("rooms")
        invited = rooms.get("invite") if isinstance(rooms, dict) else None
        for room_id, room in invited.items() if isinstance(invited, dict) else ():
            state = room.get("invite_state") if isinstance(room, dict) else None
            events = state.get("events") if isinstance(state, dict) else None
            for event in events if isinstance(events, list) else ():
                if isinstance(event, dict) and _membership(event, self.machine.user_id) == "invite":
                    with self.machine.store.transaction():
                        self.history.invited(RoomId(room_id), UserId(str(event.get("sender"))))

    def take_room_events(self, room_id: RoomId, events: Sequence[Any]) -> None:
        """Take in events of a room, opened if they were encrypted: some are about verification, or say that we join."""
        for event in events:
            if isinstance(event, dict):
                self._take_room_event(room_id, event)

    def gives_keys_to(self, user_id: UserId) -> bool:
        """Return whether all devices of a user are given the keys of our messages.

        https://spec.matrix.org/v1.19/client-server-api/#key-verification-framework
        """
        policy, identity = self.machine.sharing.policy, self.machine.identity(user_id)
        devices = self.machine.devices_of(user_id).values()
        return not any(device.can_read and policy.refuses(device, identity) for device in devices)

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

    @property
    def has_news(self) -> bool:
        """Whether there is something of verifications to be sent, told, or ended."""
        until_ms = self.verifications.next_tick_ms
        return self.verifications.has_news or (until_ms is not None and until_ms <= self._clock())

    def _want_devices(self, user_id: UserId) -> None:
        with self.machine.store.transaction():
            self.machine.lists.follow([user_id])
            self.machine.lists.changed([user_id])

    def _receive_verification(self, message: ToDevice) -> None:
        self.verifications.receive(message.event_type, message.sender, message.content, self._clock())
        self.settle()

    def _take_room_event(self, room_id: RoomId, event: JsonObject) -> None:
        event_type, sender, sent_ms = event.get("type"), event.get("sender"), event.get("origin_server_ts")
        if _membership(event, self.machine.user_id) == "join":
            with self.machine.store.transaction():
                self.history.joined(room_id)
        elif "state_key" not in event and isinstance(event_type, str) and isinstance(sender, str):
            self.verifications.receive(
                event_type,
                UserId(sender),
                event.get("content"),
                self._clock(),
                room_id=room_id,
                event_id=EventId(str(event.get("event_id"))),
                sent_ms=sent_ms if type(sent_ms) is int else None,
            )

    def _receive_secret(self, message: ToDevice) -> None:
        if message.olm is not None:
            self.secrets.sent(message.olm)

    def _receive_bundle(self, message: ToDevice) -> None:
        if message.olm is not None:
            self.history.receive(message.olm)

    def _receive_changes(self, changes: Changes) -> None:
        users = changes.users()
        for identity in changes.changed_identities:
            _log.warning("%s has another identity than before: see `changed_identities`", identity.user_id)
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


def _membership(event: JsonObject, user_id: UserId) -> str | None:
    """Return what an event says of somebody's membership, if it does."""
    content = event.get("content")
    if event.get("type") != "m.room.member" or event.get("state_key") != user_id or not isinstance(content, dict):
        return None
    membership = content.get("membership")
    return membership if isinstance(membership, str) else None
