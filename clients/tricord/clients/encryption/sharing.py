"""Encrypting messages in rooms, and seeing to it that those who are to read them have the key first.

https://spec.matrix.org/v1.19/client-server-api/#mmegolmv1aes-sha2
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Callable, Sequence

import orjson
from vodozemac import GroupSession, InboundGroupSession

from tricord.clients.encryption.claims import DEVICES_IN_A_REQUEST, Claims
from tricord.clients.encryption.device_lists import DeviceLists
from tricord.clients.encryption.devices import MEGOLM, Device, Identity, Trust, standing
from tricord.clients.encryption.errors import CannotEncrypt, KeysNotShared
from tricord.clients.encryption.megolm import Megolm
from tricord.clients.encryption.olm import Olm
from tricord.clients.encryption.own_keys import OwnKeys
from tricord.clients.encryption.own_sessions import OwnSessions
from tricord.clients.encryption.requests import SendToDevice
from tricord.clients.encryption.store import Store
from tricord.clients.encryption.stored import devices as stored_devices
from tricord.clients.encryption.stored import olm as stored_olm
from tricord.clients.encryption.stored import outgoing
from tricord.clients.encryption.stored import rooms as stored
from tricord.clients.encryption.stored.room_keys import Origin, RoomKey
from tricord.clients.encryption.stored.rooms import EncryptedRoom, OwnSession
from tricord.protocol.identifiers import DeviceId, RoomId, UserId
from tricord.protocol.strict_json import JsonObject

_log = logging.getLogger(__name__)

_FOR_EVER_MS = 1 << 62
_NO_OLM = "m.no_olm"
_WHY = {
    "m.blacklisted": "the sender has blocked this device",
    "m.unverified": "the sender shares keys with devices only that their users have vouched for",
}


class Policy(enum.Enum):
    """Which devices are given the keys of our messages. A blocked device never is."""

    # Those that their users have vouched for; of users whose identity has changed none, until that was accepted.
    CROSS_SIGNED = "cross-signed"
    # Of users who vouch for devices, those; of users who have no identity, all. What is not known cannot be used to
    # make a device look like another's: an identity, once seen, is not forgotten.
    KNOWN = "known"
    ALL = "all"

    def refuses(self, device: Device, identity: Identity | None) -> str | None:
        """Return why a device is not given keys, as a code for it to be told; None if it is.

        https://spec.matrix.org/v1.19/client-server-api/#reporting-that-decryption-keys-are-withheld
        """
        if device.trust is Trust.BLOCKED:
            return "m.blacklisted"
        if self is Policy.ALL or device.trust is Trust.VERIFIED:
            return None
        if identity is None:
            return "m.unverified" if self is Policy.CROSS_SIGNED else None
        doubtful = identity.was_verified or (identity.has_changed and self is Policy.CROSS_SIGNED)
        return "m.unverified" if doubtful or not standing(device, identity).is_vouched_for else None


class Sharing:
    """Our sessions in rooms, and who has their keys."""

    def __init__(
        self,
        store: Store,
        own: OwnKeys,
        olm: Olm,
        megolm: Megolm,
        lists: DeviceLists,
        claims: Claims,
        clock: Callable[[], int],
        policy: Policy,
    ) -> None:
        self._store = store
        self._own = own
        self._olm = olm
        self._megolm = megolm
        self._lists = lists
        self._claims = claims
        self._clock = clock
        self._sessions = OwnSessions(store)
        self.policy = policy
        # Rooms whose state is to be read.
        self.unread_rooms: set[RoomId] = set()

    def prepare(self, room_id: RoomId) -> bool:
        """Do what can be done before a message to a room; return whether it can be encrypted now.

        If not, requests are to be made. Raises CannotEncrypt.
        """
        room = self._room(room_id)
        session = self._sessions.current(room_id)
        if session is not None and self._is_fresh(room, session) and session.ready_until_ms > self._clock():
            return True
        if not room.complete:
            self.unread_rooms.add(room_id)
            return False
        with self._store.transaction():
            recipients = stored.members(self._store, room_id, invited=room.invited_may_read) | {self._own.user_id}
            self._lists.follow(recipients)
        if self._lists.lacks(recipients, self._clock()):
            return False
        return self._share(room, session, recipients)

    def encrypt(self, room_id: RoomId, event_type: str, content: JsonObject) -> JsonObject:
        """Return the content of an m.room.encrypted. Raises CannotEncrypt, KeysNotShared if it is not prepared."""
        if not self.prepare(room_id):
            raise KeysNotShared(f"not everybody in {room_id} has the key yet")
        session = self._sessions.current(room_id)
        assert session is not None  # noqa: S101  # it has just been prepared
        # https://spec.matrix.org/v1.19/client-server-api/#relationships-in-encrypted-rooms
        hidden = {key: value for key, value in content.items() if key != "m.relates_to"}
        plaintext = {"type": event_type, "content": hidden, "room_id": room_id}
        limit = self._room(room_id).rotation_messages
        ciphertext = self._sessions.encrypt(session, orjson.dumps(plaintext), limit)
        encrypted: JsonObject = {
            "algorithm": MEGOLM,
            "sender_key": self._own.curve25519,
            "device_id": self._own.device_id,
            "session_id": session.session_id,
            "ciphertext": ciphertext,
        }
        if "m.relates_to" in content:
            encrypted["m.relates_to"] = content["m.relates_to"]
        return encrypted

    def _room(self, room_id: RoomId) -> EncryptedRoom:
        room = stored.room(self._store, room_id)
        if room is None:
            raise CannotEncrypt(f"{room_id} is not encrypted, as far as we know")
        if room.algorithm != MEGOLM:
            raise CannotEncrypt(f"{room_id} is encrypted with {room.algorithm}, which we do not know")
        return room

    def _is_fresh(self, room: EncryptedRoom, session: OwnSession) -> bool:
        """Return whether a session may be used once more, by its age and the number of messages."""
        return session.messages < room.rotation_messages and self._clock() - session.created_at_ms < room.rotation_ms

    def _share(self, room: EncryptedRoom, session: OwnSession | None, recipients: set[UserId]) -> bool:
        allowed, refused = self._recipients(recipients)
        with self._store.transaction():
            if session is None or not self._is_fresh(room, session) or self._somebody_is_gone(session, allowed):
                session = self._begin(room)
            shares = stored.shares(self._store, session)
            unread = [(device, code) for device, code in refused if (device.user_id, device.device_id) not in shares]
            self._withhold(session, unread)
        have = {name for name, share in shares.items() if share.withheld is None}
        lacking = [device for device in allowed if (device.user_id, device.device_id) not in have]
        ready_until_ms = _FOR_EVER_MS
        reachable, unreachable = [], []
        for device in lacking:
            if stored_olm.has_session(self._store, device.curve25519):
                reachable.append(device)
                continue
            again_at_ms = self._claims.try_again_at_ms(device)
            if again_at_ms > self._clock():
                # It misses what is said until then, and is given the key later.
                ready_until_ms = min(ready_until_ms, again_at_ms)
            else:
                unreachable.append(device)
        self._claims.want(unreachable)
        for start in range(0, len(reachable), DEVICES_IN_A_REQUEST):
            self._give(session, reachable[start : start + DEVICES_IN_A_REQUEST])
        if unreachable or outgoing.room_waits(self._store, room.room_id):
            return False
        with self._store.transaction():
            stored.set_ready(self._store, room.room_id, ready_until_ms)
        return True

    def _recipients(self, user_ids: set[UserId]) -> tuple[list[Device], list[tuple[Device, str]]]:
        """Return the devices that are to have the key, and those that are not, each with the reason's code."""
        allowed, refused = [], []
        for user_id in sorted(user_ids):
            identity = stored_devices.identity(self._store, user_id)
            for device in stored_devices.devices_of(self._store, user_id).values():
                if device.device_id == self._own.device_id and user_id == self._own.user_id:
                    continue
                if not device.can_read:
                    continue
                code = self.policy.refuses(device, identity)
                if code is None:
                    allowed.append(device)
                else:
                    refused.append((device, code))
        return allowed, refused

    def _somebody_is_gone(self, session: OwnSession, allowed: Sequence[Device]) -> bool:
        """Return whether a device has the key that is not to read what comes next."""
        keys = {(device.user_id, device.device_id): device.curve25519 for device in allowed}
        shares = stored.shares(self._store, session)
        return any(share.withheld is None and keys.get(name) != share.curve25519 for name, share in shares.items())

    def _begin(self, room: EncryptedRoom) -> OwnSession:
        stored.end_own_session(self._store, room.room_id)
        group = GroupSession()
        session = OwnSession(room.room_id, group.session_id, group, self._clock(), 0, room.shares_history, 0)
        stored.keep_own_session(self._store, session)
        # What we say we can read too.
        self._megolm.add(
            RoomKey(
                room.room_id,
                group.session_id,
                InboundGroupSession(group.session_key),
                self._own.curve25519,
                self._own.ed25519,
                self._own.user_id,
                Origin.OWN,
                room.shares_history,
            )
        )
        return session

    def _give(self, session: OwnSession, devices: Sequence[Device]) -> None:
        """Send the key to devices with which there are Olm sessions: ratchets, notes and the request in one step."""
        content = {
            "algorithm": MEGOLM,
            "room_id": session.room_id,
            "session_id": session.session_id,
            "session_key": session.session.session_key.to_base64(),
            "shared_history": session.shared_history,
        }
        messages: dict[UserId, dict[DeviceId, JsonObject]] = {}
        with self._store.transaction():
            for device in devices:
                encrypted = self._olm.encrypt(device, "m.room_key", content)
                if encrypted is not None:
                    messages.setdefault(device.user_id, {})[device.device_id] = encrypted
                    stored.note_share(self._store, session, device)
            request = SendToDevice(event_type="m.room.encrypted", messages=messages)
            outgoing.put(self._store, request, room_id=session.room_id)

    def _withhold(self, session: OwnSession, refused: Sequence[tuple[Device, str]]) -> None:
        """Tell devices that they are not given the key, and why."""
        for start in range(0, len(refused), DEVICES_IN_A_REQUEST):
            messages: dict[UserId, dict[DeviceId, JsonObject]] = {}
            for device, code in refused[start : start + DEVICES_IN_A_REQUEST]:
                content = {
                    "algorithm": MEGOLM,
                    "room_id": session.room_id,
                    "session_id": session.session_id,
                    "sender_key": self._own.curve25519,
                    "code": code,
                    "reason": _WHY[code],
                }
                messages.setdefault(device.user_id, {})[device.device_id] = content
                stored.note_share(self._store, session, device, code)
            outgoing.put(
                self._store, SendToDevice(event_type="m.room_key.withheld", messages=messages), room_id=session.room_id
            )
