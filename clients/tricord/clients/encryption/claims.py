"""Sessions that are not there yet: one-time keys are claimed, and what waits for a session is sent.

https://spec.matrix.org/v1.19/client-server-api/#one-time-and-fallback-keys
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from vodozemac import Account

from tricord.clients.encryption.devices import Device, check_signature, public_key
from tricord.clients.encryption.errors import InvalidKeys
from tricord.clients.encryption.olm import Olm
from tricord.clients.encryption.own_keys import OwnKeys
from tricord.clients.encryption.requests import KeysClaim, SendToDevice
from tricord.clients.encryption.store import Store
from tricord.clients.encryption.stored import devices as stored_devices
from tricord.clients.encryption.stored import olm as stored
from tricord.clients.encryption.stored import outgoing
from tricord.protocol.identifiers import DeviceId, UserId
from tricord.protocol.strict_json import JsonObject

_log = logging.getLogger(__name__)

DEVICES_IN_A_REQUEST = 250
_ALGORITHM = "signed_curve25519"
_FIRST_PAUSE_MS = 60_000
_LONGEST_PAUSE_MS = 3_600_000
_WAIT_AT_MOST_MS = 7 * 24 * 3_600_000


class Claims:
    """Claims one-time keys of devices, each device once at a time; after a failure only after a while."""

    def __init__(self, store: Store, own: OwnKeys, olm: Olm, clock: Callable[[], int]) -> None:
        self._store = store
        self._own = own
        self._olm = olm
        self._clock = clock
        self._wanted: dict[tuple[UserId, DeviceId], None] = {}
        self._under_way: dict[str, KeysClaim] = {}

    def send(self, device: Device, event_type: str, content: JsonObject) -> None:
        """Send a message to a device by Olm, as soon as there is a session with it."""
        stored.put_waiting(self._store, device, event_type, content, self._clock())

    def want(self, devices: Iterable[Device]) -> None:
        """Get sessions with devices."""
        for device in devices:
            self._wanted[(device.user_id, device.device_id)] = None

    def try_again_at_ms(self, device: Device) -> int:
        """Return when a key of a device may be claimed: 0 unless that failed."""
        trouble = stored.trouble(self._store, device.curve25519)
        return 0 if trouble is None else trouble.claim_after_ms

    def requests(self) -> list[KeysClaim]:
        """Return the claims to make, and send what need not wait."""
        self._send_waiting()
        self.want_broken()
        asked = {
            (user_id, device_id)
            for claim in self._under_way.values()
            for user_id, devices in claim.devices.items()
            for device_id in devices
        }
        wanted = [device for device in self._wanted if device not in asked]
        for start in range(0, len(wanted), DEVICES_IN_A_REQUEST):
            devices: dict[UserId, dict[DeviceId, str]] = {}
            for user_id, device_id in wanted[start : start + DEVICES_IN_A_REQUEST]:
                devices.setdefault(user_id, {})[device_id] = _ALGORITHM
            claim = KeysClaim(devices=devices)
            self._under_way[claim.request_id] = claim
        return list(self._under_way.values())

    def want_broken(self) -> None:
        """Get new sessions with devices whose session is broken."""
        for user_id, sender_key in stored.wanted_sessions(self._store, self._clock()):
            devices = stored_devices.devices_by_key(self._store, sender_key)
            self.want(device for device in devices if device.user_id == user_id and not device.gone)

    def answered(self, claim: KeysClaim, answer: Any) -> None:
        """Begin sessions with the keys that came."""
        self._under_way.pop(claim.request_id, None)
        given = answer.get("one_time_keys") if isinstance(answer, dict) else None
        account = self._own.account()
        for user_id, devices in claim.devices.items():
            of_user = given.get(user_id) if isinstance(given, dict) else None
            for device_id in devices:
                self._wanted.pop((user_id, device_id), None)
                device = stored_devices.device(self._store, user_id, device_id)
                if device is not None and not device.gone:
                    self._take(account, device, of_user.get(device_id) if isinstance(of_user, dict) else None)

    def refused(self, claim: KeysClaim) -> None:
        """Take in that a claim failed as a whole."""
        self.answered(claim, None)

    def _take(self, account: Account, device: Device, keys: Any) -> None:
        trouble = stored.trouble(self._store, device.curve25519) or stored.Trouble(device.user_id)
        try:
            with self._store.attempt():
                self._olm.begin(account, device, _one_time_key(device, keys))
        except InvalidKeys as reason:
            _log.warning("no session with the device %s of %s: %s", device.device_id, device.user_id, reason)
            failed = trouble.claims_failed + 1
            pause_ms = min(_FIRST_PAUSE_MS * 2 ** min(failed - 1, 10), _LONGEST_PAUSE_MS)
            trouble = replace(trouble, claims_failed=failed, claim_after_ms=self._clock() + pause_ms)
            if not trouble.told_no_olm:
                # Once, however many sessions they miss: their mailbox is not to be filled.
                trouble = replace(trouble, told_no_olm=True)
                content = {"code": "m.no_olm", "reason": "no Olm session could be established"}
                self._put("m.room_key.withheld", {device.user_id: {device.device_id: self._withheld(content)}})
            stored.keep_trouble(self._store, device.curve25519, trouble)
            return
        if trouble.session_wanted:
            # The other side is to know of the new session, and to use it.
            self.send(device, "m.dummy", {})
        calm = replace(trouble, session_wanted=False, claims_failed=0, claim_after_ms=0, told_no_olm=False)
        stored.keep_trouble(self._store, device.curve25519, calm)

    def _withheld(self, content: JsonObject) -> JsonObject:
        return {"algorithm": "m.megolm.v1.aes-sha2", "sender_key": self._own.curve25519, **content}

    def _send_waiting(self) -> None:
        waiting = stored.waiting(self._store)
        if not waiting:
            return
        with self._store.transaction():
            stored.forget_old_waiting(self._store, self._clock() - _WAIT_AT_MOST_MS)
            batch: dict[tuple[UserId, DeviceId], JsonObject] = {}
            for message in waiting:
                device = stored_devices.device(self._store, message.user_id, message.device_id)
                if device is None or device.gone:
                    stored.forget_waiting(self._store, [message.number])
                    continue
                if self.try_again_at_ms(device) > self._clock():
                    continue
                name = (device.user_id, device.device_id)
                if name in batch or len(batch) >= DEVICES_IN_A_REQUEST:
                    # One message to a device in a request, and in order.
                    self._put_batch(batch)
                    batch = {}
                content = self._olm.encrypt(device, message.event_type, message.content)
                if content is None:
                    self.want([device])
                    continue
                batch[name] = content
                stored.forget_waiting(self._store, [message.number])
            self._put_batch(batch)

    def _put_batch(self, batch: dict[tuple[UserId, DeviceId], JsonObject]) -> None:
        messages: dict[UserId, dict[DeviceId, JsonObject]] = {}
        for (user_id, device_id), content in batch.items():
            messages.setdefault(user_id, {})[device_id] = content
        if messages:
            self._put("m.room.encrypted", messages)

    def _put(self, event_type: str, messages: dict[UserId, dict[DeviceId, JsonObject]]) -> None:
        outgoing.put(self._store, SendToDevice(event_type=event_type, messages=messages))


def _one_time_key(device: Device, keys: Any) -> str:
    """Return the one-time key of a device out of an answer. Raises InvalidKeys."""
    what = f"the one-time key of {device.device_id} of {device.user_id}"
    if not isinstance(keys, dict) or not keys:
        raise InvalidKeys(f"{what}: there is none")
    name, signed = next(iter(keys.items()))
    if not name.startswith(f"{_ALGORITHM}:") or not isinstance(signed, dict):
        raise InvalidKeys(f"{what} is not signed")
    check_signature(signed, device.user_id, device.device_id, device.ed25519, what)
    return public_key(signed.get("key"), what)
