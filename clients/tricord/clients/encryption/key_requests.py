"""Keys passed between the devices of one user: asked for, given, and taken, only where both sides are verified.

https://spec.matrix.org/v1.19/client-server-api/#key-requests
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from tricord.clients.encryption.claims import Claims
from tricord.clients.encryption.devices import MEGOLM, Device, standing
from tricord.clients.encryption.megolm import Megolm
from tricord.clients.encryption.olm import OlmMessage
from tricord.clients.encryption.own_keys import OwnKeys
from tricord.clients.encryption.requests import SendToDevice, new_request_id
from tricord.clients.encryption.store import Store
from tricord.clients.encryption.stored import devices as stored_devices
from tricord.clients.encryption.stored import key_requests as stored
from tricord.clients.encryption.stored import outgoing
from tricord.clients.encryption.stored import room_keys as stored_keys
from tricord.clients.encryption.stored.key_requests import KeyRequest
from tricord.clients.encryption.stored.room_keys import Origin, RoomKey
from tricord.protocol.identifiers import DeviceId, RoomId, UserId
from tricord.protocol.strict_json import JsonObject

_log = logging.getLogger(__name__)


class KeyRequests:
    """Asks our verified devices for keys, and answers them when they ask."""

    def __init__(self, store: Store, own: OwnKeys, megolm: Megolm, claims: Claims, clock: Callable[[], int]) -> None:
        self._store = store
        self._own = own
        self._megolm = megolm
        self._claims = claims
        self._clock = clock

    def ask(self, room_id: RoomId, session_id: str) -> None:
        """Ask for a key, once; of our verified devices, if there are any."""
        if stored.request_for(self._store, room_id, session_id) is not None:
            return
        devices = [device.device_id for device in self._verified()]
        if not devices:
            return
        request = KeyRequest(room_id, session_id, new_request_id(), tuple(devices))
        stored.keep(self._store, request, self._clock())
        wanted = {"algorithm": MEGOLM, "room_id": room_id, "session_id": session_id}
        self._tell(request, {"action": "request", "body": wanted})

    def arrived(self, key: RoomKey) -> None:
        """Ask no more for a key that has come."""
        request = stored.request_for(self._store, key.room_id, key.session_id)
        if request is not None:
            stored.forget(self._store, request)
            self._tell(request, {"action": "request_cancellation"})

    def asked(self, sender: UserId, content: JsonObject) -> None:
        """Answer a request: to a verified device of our own, and to nobody else (CVE-2021-40823)."""
        wanted, device_id = content.get("body"), content.get("requesting_device_id")
        if sender != self._own.user_id or content.get("action") != "request" or not isinstance(wanted, dict):
            return
        room_id, session_id = wanted.get("room_id"), wanted.get("session_id")
        if not isinstance(room_id, str) or not isinstance(session_id, str) or wanted.get("algorithm") != MEGOLM:
            return
        device = next((device for device in self._verified() if device.device_id == device_id), None)
        if device is None:
            _log.info("a device of ours that is not verified asks for a key: %s", device_id)
            return
        key = stored_keys.room_key(self._store, RoomId(room_id), session_id)
        if key is not None:
            self._claims.send(device, "m.forwarded_room_key", _forwarded(key))

    def forwarded(self, message: OlmMessage) -> RoomKey | None:
        """Take in a key that was passed on: of those we have asked for, by a verified device that we have asked.

        Return it if it is of use. Raises InvalidKeys.
        """
        content, device = message.content, message.device
        room_id, session_id = content.get("room_id"), content.get("session_id")
        if not isinstance(room_id, str) or not isinstance(session_id, str):
            return None
        request = stored.request_for(self._store, RoomId(room_id), session_id)
        if request is None or device is None or device.user_id != self._own.user_id:
            _log.warning("a key that was not asked for was sent by %s", message.sender)
            return None
        if device.device_id not in request.asked or not self._is_verified(device):
            _log.warning("a key was sent by a device that was not asked for it: %s", device.device_id)
            return None
        return self._megolm.add_exported(content, Origin.FORWARDED, forwarders=(*_chain(content), message.sender_key))

    def _verified(self) -> list[Device]:
        """Return our other devices that are certain to be ours."""
        devices = stored_devices.devices_of(self._store, self._own.user_id).values()
        return [
            device
            for device in devices
            if device.device_id != self._own.device_id and device.can_read and self._is_verified(device)
        ]

    def _is_verified(self, device: Device) -> bool:
        return standing(device, stored_devices.identity(self._store, device.user_id)).is_verified

    def _tell(self, request: KeyRequest, content: JsonObject) -> None:
        content = {"requesting_device_id": self._own.device_id, "request_id": request.request_id, **content}
        messages: dict[UserId, dict[DeviceId, JsonObject]] = {self._own.user_id: dict.fromkeys(request.asked, content)}
        outgoing.put(self._store, SendToDevice(event_type="m.room_key_request", messages=messages))


def _forwarded(key: RoomKey) -> JsonObject:
    """https://spec.matrix.org/v1.19/client-server-api/#mforwarded_room_key ."""
    return {
        "algorithm": MEGOLM,
        "room_id": key.room_id,
        "session_id": key.session_id,
        "session_key": key.exported(),
        "sender_key": key.sender_key,
        "sender_claimed_ed25519_key": key.ed25519,
        "forwarding_curve25519_key_chain": list(key.forwarders),
        "shared_history": key.shared_history,
    }


def _chain(content: JsonObject) -> list[str]:
    chain: Any = content.get("forwarding_curve25519_key_chain")
    return [key for key in chain if isinstance(key, str)][:16] if isinstance(chain, list) else []
