"""Giving devices the key of one of our sessions, or telling them why they are not given it.

https://spec.matrix.org/v1.19/client-server-api/#mroom_key
"""

from __future__ import annotations

from collections.abc import Sequence

from tricord.clients.encryption.claims import DEVICES_IN_A_REQUEST
from tricord.clients.encryption.devices import MEGOLM, Device
from tricord.clients.encryption.olm import Olm
from tricord.clients.encryption.own_keys import OwnKeys
from tricord.clients.encryption.requests import SendToDevice
from tricord.clients.encryption.store import Store
from tricord.clients.encryption.stored import outgoing
from tricord.clients.encryption.stored import rooms as stored
from tricord.clients.encryption.stored.rooms import SessionPart
from tricord.protocol.identifiers import DeviceId, UserId
from tricord.protocol.strict_json import JsonObject

_WHY = {
    "m.blacklisted": "the sender has blocked this device",
    "m.unverified": "the sender shares keys with devices only that their users have vouched for",
}


class Giving:
    """Sends keys. Messages to a room wait for what is sent for it."""

    def __init__(self, store: Store, own: OwnKeys, olm: Olm) -> None:
        self._store = store
        self._own = own
        self._olm = olm

    def give(self, part: SessionPart, devices: Sequence[Device]) -> None:
        """Send a key to devices with which there are Olm sessions: ratchets, notes and the request in one step."""
        content = {
            "algorithm": MEGOLM,
            "room_id": part.room_id,
            "session_id": part.session_id,
            "session_key": part.session_key,
            "shared_history": part.shared_history,
        }
        for start in range(0, len(devices), DEVICES_IN_A_REQUEST):
            messages: dict[UserId, dict[DeviceId, JsonObject]] = {}
            with self._store.transaction():
                for device in devices[start : start + DEVICES_IN_A_REQUEST]:
                    encrypted = self._olm.encrypt(device, "m.room_key", content)
                    if encrypted is not None:
                        messages.setdefault(device.user_id, {})[device.device_id] = encrypted
                        stored.note_share(self._store, part.room_id, part.session_id, device, part.message_index)
                request = SendToDevice(event_type="m.room.encrypted", messages=messages)
                outgoing.put(self._store, request, room_id=part.room_id)

    def withhold(self, part: SessionPart, refused: Sequence[tuple[Device, str]]) -> None:
        """Tell devices that they are not given a key, and why, by the code. To be called in a transaction.

        https://spec.matrix.org/v1.19/client-server-api/#reporting-that-decryption-keys-are-withheld
        """
        for start in range(0, len(refused), DEVICES_IN_A_REQUEST):
            messages: dict[UserId, dict[DeviceId, JsonObject]] = {}
            for device, code in refused[start : start + DEVICES_IN_A_REQUEST]:
                content = {
                    "algorithm": MEGOLM,
                    "room_id": part.room_id,
                    "session_id": part.session_id,
                    "sender_key": self._own.curve25519,
                    "code": code,
                    "reason": _WHY[code],
                }
                messages.setdefault(device.user_id, {})[device.device_id] = content
                stored.note_share(self._store, part.room_id, part.session_id, device, part.message_index, code)
            request = SendToDevice(event_type="m.room_key.withheld", messages=messages)
            outgoing.put(self._store, request, room_id=part.room_id)
