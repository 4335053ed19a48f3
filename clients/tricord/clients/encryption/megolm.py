"""Decrypting messages in rooms, and taking in the keys for it.

https://spec.matrix.org/v1.19/client-server-api/#mmegolmv1aes-sha2
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from vodozemac import ExportedSessionKey, InboundGroupSession, MegolmMessage, SessionKey

from tricord.clients.encryption.devices import MEGOLM, Device, Identity, Standing, public_key, standing
from tricord.clients.encryption.errors import CannotDecrypt, InvalidKeys, Reason
from tricord.clients.encryption.olm import OlmMessage
from tricord.clients.encryption.store import Store
from tricord.clients.encryption.stored import devices as stored_devices
from tricord.clients.encryption.stored import room_keys as stored
from tricord.clients.encryption.stored.room_keys import Origin, RoomKey
from tricord.protocol.errors import BadJson, NotJson
from tricord.protocol.identifiers import EventId, RoomId, UserId
from tricord.protocol.strict_json import JsonObject, parse_object

_log = logging.getLogger(__name__)


class Doubt(enum.Enum):
    """What is to be said with a message that could be decrypted."""

    UNKNOWN_DEVICE = "it was encrypted by a device that is not known, or was deleted"
    UNSIGNED_DEVICE = "it was encrypted by a device that its user has not vouched for"
    IDENTITY_CHANGED = "its sender's identity is another than before"
    NOT_AUTHENTIC = "its key was passed on: that it is its sender's is what somebody said"


@dataclass(frozen=True, slots=True)
class Decrypted:
    """What an encrypted event said, and how sure it is who said so."""

    event_type: str
    content: JsonObject
    session_id: str
    message_index: int
    # The key of the device that encrypted it, and the device, if it is known.
    sender_key: str
    device: Device | None
    standing: Standing
    warnings: tuple[Doubt, ...]


class Megolm:
    """The keys of messages in rooms."""

    def __init__(self, store: Store, clock: Callable[[], int]) -> None:
        self._store = store
        self._clock = clock

    def take(self, message: OlmMessage) -> RoomKey | None:
        """Take in an m.room_key: the device that sent it is the one that made it. Return it if it is of use.

        Raises InvalidKeys.
        """
        content = message.content
        room_id, session_id = _names(content)
        try:
            session = InboundGroupSession(SessionKey(content["session_key"]))
        except (ValueError, TypeError, KeyError) as error:
            raise InvalidKeys(f"the key of {session_id} in {room_id}: {error}") from error
        key = RoomKey(
            room_id,
            session_id,
            session,
            message.sender_key,
            message.ed25519,
            message.sender,
            Origin.RECEIVED,
            content.get("shared_history") is True,
        )
        return key if self.add(key) else None

    def add_exported(self, content: JsonObject, origin: Origin, *, forwarders: tuple[str, ...] = ()) -> RoomKey | None:
        """Take in a key as exports, backups and forwards hold it. Return it if it is of use. Raises InvalidKeys."""
        room_id, session_id = _names(content)
        claimed = content.get("sender_claimed_keys")
        ed25519 = claimed.get("ed25519") if isinstance(claimed, dict) else content.get("sender_claimed_ed25519_key")
        try:
            session = InboundGroupSession.import_session(ExportedSessionKey(content["session_key"]))
        except (ValueError, TypeError, KeyError) as error:
            raise InvalidKeys(f"the key of {session_id} in {room_id}: {error}") from error
        key = RoomKey(
            room_id,
            session_id,
            session,
            public_key(content.get("sender_key"), "the sender's key"),
            public_key(ed25519, "the sender's claimed key"),
            None,
            origin,
            content.get("shared_history") is True,
            forwarders,
        )
        return key if self.add(key) else None

    def add(self, key: RoomKey) -> bool:
        """Keep a key unless there is a better one; return whether it is of use. Raises InvalidKeys.

        A key replaces another only if both are of the same ratchet, and it reaches further back; or if it is certain
        whose it is, and that was not so with the other.
        """
        if key.session.session_id != key.session_id:
            raise InvalidKeys(f"the key of {key.session_id} in {key.room_id} is that of another session")
        known = stored.room_key(self._store, key.room_id, key.session_id)
        if known is None:
            stored.keep_room_key(self._store, key, self._clock())
            return True
        now_certain = key.origin.is_authentic and not known.origin.is_authentic
        if not _same_ratchet(known, key) or (known.sender_key, known.ed25519) != (key.sender_key, key.ed25519):
            if now_certain:
                _log.warning("%s: the key of %s was somebody else's", key.room_id, key.session_id)
                stored.keep_room_key(self._store, key, self._clock())
                return True
            raise InvalidKeys(f"the key of {key.session_id} in {key.room_id} does not fit the one we have")
        reaches_further = key.first_index < known.first_index
        if not reaches_further and not now_certain:
            return False
        best = key if reaches_further else known
        certain = key if now_certain or not known.origin.is_authentic else known
        # Whether history may be shared is what the device that made the key says, if we have its word.
        better = replace(
            best,
            origin=certain.origin,
            user_id=certain.user_id,
            forwarders=certain.forwarders,
            shared_history=certain.shared_history,
        )
        stored.keep_room_key(self._store, better, self._clock())
        return True

    def decrypt(self, room_id: RoomId, event: JsonObject) -> Decrypted:
        """Decrypt an event of a room. Raises CannotDecrypt.

        To be called in a transaction: which event has which message index is noted.
        """
        content, event_id, sender = event.get("content"), event.get("event_id"), event.get("sender")
        if event.get("type") != "m.room.encrypted" or not isinstance(content, dict) or "state_key" in event:
            raise CannotDecrypt(Reason.NOT_ENCRYPTED)
        if not isinstance(event_id, str) or not isinstance(sender, str):
            raise CannotDecrypt(Reason.NOT_ENCRYPTED, "the event has no id, or no sender")
        if content.get("algorithm") != MEGOLM:
            raise CannotDecrypt(Reason.UNKNOWN_ALGORITHM, str(content.get("algorithm"))[:100])
        session_id, ciphertext = content.get("session_id"), content.get("ciphertext")
        if not isinstance(session_id, str) or not isinstance(ciphertext, str):
            raise CannotDecrypt(Reason.NOT_ENCRYPTED, "there is no session id, or no ciphertext")
        key = stored.room_key(self._store, room_id, session_id)
        if key is None:
            raise self._missing(room_id, session_id, UserId(sender))
        plaintext, index = _open(key, ciphertext)
        event_type, opened = _read(room_id, plaintext, session_id)
        device, identity = self._origin(key, UserId(sender))
        if not stored.claim_index(self._store, room_id, session_id, index, EventId(event_id)):
            raise CannotDecrypt(Reason.REPLAYED, session_id=session_id)
        # https://spec.matrix.org/v1.19/client-server-api/#forming-relationships-between-events
        opened.pop("m.relates_to", None)
        if isinstance(content.get("m.relates_to"), dict):
            opened["m.relates_to"] = content["m.relates_to"]
        how_sure = standing(device, identity)
        warnings = tuple(_warnings(key, device, identity, how_sure))
        return Decrypted(event_type, opened, session_id, index, key.sender_key, device, how_sure, warnings)

    def let_wait(self, room_id: RoomId, event: JsonObject) -> None:
        """Keep an event whose key is missing until it comes."""
        content = event["content"]
        try:
            index = MegolmMessage.from_base64(content["ciphertext"]).message_index()
        except ValueError:
            # No key will ever decrypt it.
            return
        stored.let_wait(self._store, room_id, content["session_id"], index, event)

    def _missing(self, room_id: RoomId, session_id: str, sender: UserId) -> CannotDecrypt:
        withheld = stored.withheld_by(self._store, room_id, session_id, sender)
        if withheld is None:
            return CannotDecrypt(Reason.NO_KEY, session_id=session_id)
        return CannotDecrypt(Reason.WITHHELD, withheld.reason, session_id=session_id, code=withheld.code)

    def _origin(self, key: RoomKey, sender: UserId) -> tuple[Device | None, Identity | None]:
        """Return the device that made a key, and its user's identity. Raises CannotDecrypt if that is not the sender.

        https://spec.matrix.org/v1.19/client-server-api/#verification-of-the-sending-user-for-incoming-events
        """
        if key.user_id is not None and key.user_id != sender:
            raise CannotDecrypt(Reason.WRONG_SENDER, session_id=key.session_id)
        of_key = stored_devices.devices_by_key(self._store, key.sender_key)
        same = [device for device in of_key if device.ed25519 == key.ed25519]
        device = next((one for one in same if one.user_id == sender), None)
        # Both keys are those of another's device, or the one key that of a device of theirs, and the other not.
        if device is None and (same or any(one.user_id == sender for one in of_key)):
            raise CannotDecrypt(Reason.WRONG_SENDER, session_id=key.session_id)
        return device, stored_devices.identity(self._store, sender)


def _names(content: JsonObject) -> tuple[RoomId, str]:
    room_id, session_id = content.get("room_id"), content.get("session_id")
    if content.get("algorithm") != MEGOLM:
        raise InvalidKeys("the key of a room is for an algorithm that we do not know")
    if not isinstance(room_id, str) or not isinstance(session_id, str):
        raise InvalidKeys("the key of a room names no room, or no session")
    return RoomId(room_id), session_id


def _same_ratchet(one: RoomKey, other: RoomKey) -> bool:
    index = max(one.first_index, other.first_index)
    ours, theirs = one.session.export_at(index), other.session.export_at(index)
    return ours is not None and theirs is not None and ours.to_base64() == theirs.to_base64()


def _open(key: RoomKey, ciphertext: str) -> tuple[bytes, int]:
    try:
        message = MegolmMessage.from_base64(ciphertext)
        if message.message_index() < key.first_index:
            raise CannotDecrypt(Reason.KEY_TOO_LATE, session_id=key.session_id)
        decrypted = key.session.decrypt(message)
    except ValueError as error:
        raise CannotDecrypt(Reason.BAD_CIPHERTEXT, str(error), session_id=key.session_id) from error
    return decrypted.plaintext, decrypted.message_index


def _read(room_id: RoomId, plaintext: bytes, session_id: str) -> tuple[str, JsonObject]:
    try:
        opened: Any = parse_object(plaintext)
    except (NotJson, BadJson) as error:
        raise CannotDecrypt(Reason.BAD_PLAINTEXT, str(error), session_id=session_id) from error
    event_type, content = opened.get("type"), opened.get("content")
    if not isinstance(event_type, str) or not isinstance(content, dict):
        raise CannotDecrypt(Reason.BAD_PLAINTEXT, "it has no type, or no content", session_id=session_id)
    if opened.get("room_id") != room_id:
        raise CannotDecrypt(Reason.WRONG_ROOM, session_id=session_id)
    return event_type, content


def _warnings(key: RoomKey, device: Device | None, identity: Identity | None, how_sure: Standing) -> list[Doubt]:
    warnings = []
    if device is None or device.gone:
        warnings.append(Doubt.UNKNOWN_DEVICE)
    elif not how_sure.is_vouched_for:
        warnings.append(Doubt.UNSIGNED_DEVICE)
    if identity is not None and (identity.has_changed or identity.was_verified):
        warnings.append(Doubt.IDENTITY_CHANGED)
    if not key.origin.is_authentic:
        warnings.append(Doubt.NOT_AUTHENTIC)
    return warnings
