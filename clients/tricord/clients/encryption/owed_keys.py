"""Giving keys later to those who should have had them when a message was sent.

A server that is away cannot tell its users' devices, or give one-time keys of them. Messages do not wait for it: their
key is owed, from the first message that was sent so, and given once the devices are known and reachable, also after a
restart. What a key opens was sent while its user was in the room: the session ends when somebody leaves. Who has left
since, and whom we did not give keys then for want of trust, is given nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tricord.clients.encryption.claims import Claims
from tricord.clients.encryption.devices import Device
from tricord.clients.encryption.giving import Giving
from tricord.clients.encryption.policy import Policy
from tricord.clients.encryption.store import Store
from tricord.clients.encryption.stored import devices as stored_devices
from tricord.clients.encryption.stored import olm as stored_olm
from tricord.clients.encryption.stored import owed_keys as stored
from tricord.clients.encryption.stored import rooms as stored_rooms
from tricord.clients.encryption.stored.owed_keys import Owed
from tricord.clients.encryption.stored.rooms import SessionPart, Share
from tricord.protocol.identifiers import DeviceId, RoomId, UserId

# Whoever takes over a server much later is not to be given what was said long before.
_OWED_AT_MOST_MS = 7 * 24 * 3_600_000
_AT_ONCE = 1_000

_Shares = dict[tuple[UserId, DeviceId], Share]


class OwedKeys:
    """The keys that we owe."""

    def __init__(
        self,
        store: Store,
        own_device: tuple[UserId, DeviceId],
        claims: Claims,
        giving: Giving,
        clock: Callable[[], int],
        policy: Policy,
    ) -> None:
        self._store = store
        self._own_device = own_device
        self._claims = claims
        self._giving = giving
        self._clock = clock
        self._policy = policy

    def owe(self, part: SessionPart, user_ids: Iterable[UserId], devices: Iterable[Device]) -> None:
        """Owe the key of a session, from here on, to users whose devices are not known, and to devices out of reach."""
        stored.owe(self._store, part, user_ids, devices, self._clock())

    def settle(self) -> None:
        """Give what can be given now, and ask for one-time keys of those whose turn it is."""
        if not stored.is_anything_owed(self._store):
            return
        with self._store.transaction():
            stored.forget_old(self._store, self._clock() - _OWED_AT_MOST_MS)
            for owed in stored.owed_to_known_users(self._store, _AT_ONCE):
                stored.owe_devices(self._store, owed, self._devices_of(owed.user_id))
                stored.settled(self._store, [owed])
            self._settle_with_devices(stored.owed_to_devices(self._store, self._clock(), _AT_ONCE))

    def _devices_of(self, user_id: UserId) -> list[Device]:
        devices = stored_devices.devices_of(self._store, user_id).values()
        return [device for device in devices if (user_id, device.device_id) != self._own_device and device.can_read]

    def _settle_with_devices(self, all_owed: list[Owed]) -> None:
        settled: list[Owed] = []
        to_give: dict[tuple[RoomId, str, int], list[tuple[Owed, Device]]] = {}
        shares: dict[tuple[RoomId, str], _Shares] = {}
        for owed in all_owed:
            session = (owed.room_id, owed.session_id)
            if session not in shares:
                shares[session] = stored_rooms.shares(self._store, *session)
            device = stored_devices.device(self._store, owed.user_id, owed.device_id)
            if device is None or not self._is_still_owed(owed, device, shares[session]):
                settled.append(owed)
                continue
            code = self._policy.refuses(device, stored_devices.identity(self._store, owed.user_id))
            if code is not None:
                self._giving.withhold(stored.part(self._store, owed), [(device, code)])
                settled.append(owed)
            elif stored_olm.has_session(self._store, device.curve25519):
                to_give.setdefault((*session, owed.message_index), []).append((owed, device))
                settled.append(owed)
            else:
                self._claims.want([device])
        for given in to_give.values():
            part = stored.part(self._store, given[0][0])
            self._giving.give(part, [device for _, device in given])
        stored.settled(self._store, settled)

    def _is_still_owed(self, owed: Owed, device: Device, shares: _Shares) -> bool:
        if device.gone or device.curve25519 != owed.curve25519:
            return False
        if stored_rooms.membership(self._store, owed.room_id, owed.user_id) is None:
            return owed.user_id == self._own_device[0]
        share = shares.get((owed.user_id, owed.device_id))
        if share is None or share.curve25519 != device.curve25519:
            return True
        # Who was not trusted then was not to read what was said then.
        return share.withheld is None and share.message_index > owed.message_index
