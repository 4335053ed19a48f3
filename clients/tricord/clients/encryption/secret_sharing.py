"""Secrets passed between the devices of one user: asked for, given, and taken, only where both sides are verified.

https://spec.matrix.org/v1.19/client-server-api/#sharing
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

from tricord.clients.encryption.claims import Claims
from tricord.clients.encryption.cross_signing import SECRETS, CrossSigning
from tricord.clients.encryption.devices import Device, standing
from tricord.clients.encryption.errors import EncryptionError
from tricord.clients.encryption.key_backup import SECRET as BACKUP
from tricord.clients.encryption.key_backup import KeyBackup
from tricord.clients.encryption.olm import OlmMessage
from tricord.clients.encryption.own_keys import OwnKeys
from tricord.clients.encryption.requests import SendToDevice, new_request_id
from tricord.clients.encryption.store import Store
from tricord.clients.encryption.stored import devices as stored
from tricord.clients.encryption.stored import outgoing
from tricord.protocol.identifiers import DeviceId, UserId
from tricord.protocol.strict_json import JsonObject

_log = logging.getLogger(__name__)

REQUEST = "m.secret.request"
SEND = "m.secret.send"

_ASKED = "secret_requests"
_MONTH_MS = 30 * 24 * 3_600_000


class SecretSharing:
    """Asks our verified devices for the secrets of our identity, and answers them when they ask.

    What changes the store stands in a transaction of the caller's.
    """

    def __init__(
        self,
        store: Store,
        own: OwnKeys,
        cross_signing: CrossSigning,
        backup: KeyBackup,
        claims: Claims,
        clock: Callable[[], int],
        *,
        shares: bool = True,
    ) -> None:
        """Without `shares` nothing is given, not even to verified devices of ours."""
        self._store = store
        self._own = own
        self._cross_signing = cross_signing
        self._backup = backup
        self._claims = claims
        self._clock = clock
        self._shares = shares

    def missing(self) -> list[str]:
        """Return the names of the secrets that this device could have and has not."""
        have = self._cross_signing.secrets()
        lacking = [name for name in SECRETS if name not in have] if self._cross_signing.identity is not None else []
        return lacking if self._backup.key is not None else [*lacking, BACKUP]

    def ask_for_missing(self) -> None:
        """Ask our verified devices for what is missing, each secret once."""
        devices = [device.device_id for device in self._verified()]
        asked = self._asked()
        wanted = set(self.missing()) - {entry["name"] for entry in asked.values()}
        if not devices:
            return
        for name in sorted(wanted):
            request_id = new_request_id()
            asked[request_id] = {"name": name, "devices": devices, "asked_at_ms": self._clock()}
            self._tell(request_id, devices, {"action": "request", "name": name})
        self._store.keep_value(_ASKED, asked)

    def asked(self, sender: UserId, content: JsonObject) -> None:
        """Answer a request of another device: a verified one of ours, and nobody else."""
        name, request_id = content.get("name"), content.get("request_id")
        if sender != self._own.user_id or content.get("action") != "request" or not isinstance(request_id, str):
            return
        device_id = content.get("requesting_device_id")
        device = next((device for device in self._verified() if device.device_id == device_id), None)
        if device is None or not self._shares:
            _log.info("a device of ours that gets no secrets asks for one: %s", str(device_id)[:255])
            return
        secret = self._cross_signing.secrets().get(str(name))
        if name == BACKUP and self._backup.key is not None:
            secret = self._backup.key.secret
        if secret is not None:
            self._claims.send(device, SEND, {"request_id": request_id, "secret": secret})

    def sent(self, message: OlmMessage) -> str | None:
        """Take in a secret that we have asked for, from a verified device that we have asked; return its name.

        What was not asked for, or comes from somebody else, or is not the private half of what is published, is left.
        """
        request_id, secret, device = message.content.get("request_id"), message.content.get("secret"), message.device
        asked = self._asked()
        entry = asked.get(request_id) if isinstance(request_id, str) else None
        if entry is None or not isinstance(secret, str) or device is None or device.user_id != self._own.user_id:
            _log.warning("a secret that was not asked for was sent by %s", message.sender)
            return None
        # By its keys, not by its name: the device is the one that the Olm session is with.
        verified = any(
            (known.device_id, known.ed25519, known.curve25519)
            == (device.device_id, message.ed25519, message.sender_key)
            for known in self._verified()
        )
        if device.device_id not in entry["devices"] or not verified:
            _log.warning("a secret was sent by a device that was not asked for it: %s", device.device_id)
            return None
        name = str(entry["name"])
        try:
            if name == BACKUP:
                self._backup.keep_shared_secret(secret)
            else:
                self._cross_signing.take_secret(name, secret)
        except EncryptionError as error:
            _log.warning("the secret %s of %s is of no use: %s", name, device.device_id, error)
            return None
        del asked[str(request_id)]
        self._store.keep_value(_ASKED, asked)
        others = [other for other in entry["devices"] if other != device.device_id]
        self._tell(str(request_id), others, {"action": "request_cancellation"})
        return name

    def _asked(self) -> dict[str, dict[str, Any]]:
        """Return our requests that have no answer; very old ones are given up."""
        asked: dict[str, dict[str, Any]] = self._store.value(_ASKED) or {}
        now_ms = self._clock()
        return {key: entry for key, entry in asked.items() if now_ms - entry["asked_at_ms"] < _MONTH_MS}

    def _verified(self) -> list[Device]:
        """Return our other devices that are certain to be ours."""
        identity = stored.identity(self._store, self._own.user_id)
        return [
            device
            for device in stored.devices_of(self._store, self._own.user_id).values()
            if device.device_id != self._own.device_id and standing(device, identity).is_verified
        ]

    def _tell(self, request_id: str, device_ids: Iterable[Any], content: JsonObject) -> None:
        content = {**content, "requesting_device_id": self._own.device_id, "request_id": request_id}
        messages: dict[DeviceId, JsonObject] = dict.fromkeys(map(DeviceId, device_ids), content)
        if messages:
            outgoing.put(self._store, SendToDevice(event_type=REQUEST, messages={self._own.user_id: messages}))
