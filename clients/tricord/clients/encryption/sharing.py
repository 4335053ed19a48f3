"""Encrypting messages in rooms, and seeing to it that those who are to read them have the key first.

https://spec.matrix.org/v1.19/client-server-api/#mmegolmv1aes-sha2
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import orjson
from vodozemac import GroupSession, InboundGroupSession

from tricord.clients.encryption.claims import Claims
from tricord.clients.encryption.device_lists import DeviceLists
from tricord.clients.encryption.devices import MEGOLM, Device
from tricord.clients.encryption.errors import CannotEncrypt, KeysNotShared
from tricord.clients.encryption.giving import Giving
from tricord.clients.encryption.megolm import Megolm
from tricord.clients.encryption.olm import Olm
from tricord.clients.encryption.owed_keys import OwedKeys
from tricord.clients.encryption.own_keys import OwnKeys
from tricord.clients.encryption.own_sessions import OwnSessions
from tricord.clients.encryption.policy import Policy
from tricord.clients.encryption.store import Store
from tricord.clients.encryption.stored import devices as stored_devices
from tricord.clients.encryption.stored import olm as stored_olm
from tricord.clients.encryption.stored import outgoing
from tricord.clients.encryption.stored import rooms as stored
from tricord.clients.encryption.stored.room_keys import Origin, RoomKey
from tricord.clients.encryption.stored.rooms import EncryptedRoom, OwnSession, SessionPart
from tricord.protocol.identifiers import RoomId, UserId
from tricord.protocol.strict_json import JsonObject

_log = logging.getLogger(__name__)

_FOR_EVER_MS = 1 << 62


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
        self._giving = Giving(store, own, olm)
        self.owed = OwedKeys(store, (own.user_id, own.device_id), claims, self._giving, clock, policy)
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
        # https://spec.matrix.org/v1.19/client-server-api/#forming-relationships-between-events
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
        self.owed.settle()
        allowed, refused = self._recipients(recipients)
        with self._store.transaction():
            if session is None or not self._is_fresh(room, session) or self._somebody_is_gone(session, allowed):
                session = self._begin(room)
            shares = stored.shares(self._store, session.room_id, session.session_id)
            unread = [(device, code) for device, code in refused if (device.user_id, device.device_id) not in shares]
            self._giving.withhold(SessionPart.rest_of(session), unread)
        have = {name for name, share in shares.items() if share.withheld is None}
        lacking = [device for device in allowed if (device.user_id, device.device_id) not in have]
        ready_until_ms = _FOR_EVER_MS
        reachable, unreachable, out_of_reach = [], [], []
        for device in lacking:
            if stored_olm.has_session(self._store, device.curve25519):
                reachable.append(device)
                continue
            again_at_ms = self._claims.try_again_at_ms(device)
            if again_at_ms > self._clock():
                out_of_reach.append(device)
                ready_until_ms = min(ready_until_ms, again_at_ms)
            else:
                unreachable.append(device)
        self._claims.want(unreachable)
        part = SessionPart.rest_of(session)
        self._giving.give(part, reachable)
        if unreachable or outgoing.room_waits(self._store, room.room_id):
            return False
        with self._store.transaction():
            # They miss what is said until then, and are given the key from here on.
            self.owed.owe(part, self._lists.not_told(recipients), out_of_reach)
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
        shares = stored.shares(self._store, session.room_id, session.session_id)
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
