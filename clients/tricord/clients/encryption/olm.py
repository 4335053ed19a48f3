"""Messages between two devices: Olm.

https://spec.matrix.org/v1.19/client-server-api/#molmv1curve25519-aes-sha2
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import orjson
from vodozemac import Account, AnyOlmMessage, Curve25519PublicKey, PreKeyMessage, Session

from tricord.clients.encryption.devices import OLM, Device, public_key
from tricord.clients.encryption.errors import CannotDecrypt, InvalidKeys, Reason
from tricord.clients.encryption.own_keys import OwnKeys
from tricord.clients.encryption.store import Store
from tricord.clients.encryption.stored import devices as stored_devices
from tricord.clients.encryption.stored import olm as stored
from tricord.protocol.errors import BadJson, NotJson
from tricord.protocol.identifiers import DeviceId, UserId
from tricord.protocol.strict_json import JsonObject, parse_object
from tricord.protocol.unpadded_base64 import decode_base64, encode_base64

_log = logging.getLogger(__name__)

_HOUR_MS = 3_600_000
_PRE_KEY = 0


@dataclass(frozen=True, slots=True)
class OlmMessage:
    """What another device sent us, and who it proved to be.

    `device` is the one with these keys, if it is known: from its user's list, or as the message itself introduced it.
    """

    sender: UserId
    event_type: str
    content: JsonObject
    sender_key: str
    ed25519: str
    device: Device | None


class Olm:
    """The sessions with other devices."""

    def __init__(self, store: Store, own: OwnKeys, clock: Callable[[], int]) -> None:
        self._store = store
        self._own = own
        self._clock = clock

    def encrypt(self, device: Device, event_type: str, content: JsonObject) -> JsonObject | None:
        """Return the content of an m.room.encrypted for a device; None if there is no session with it."""
        session = stored.newest_session(self._store, device.curve25519)
        if session is None:
            return None
        plaintext = {
            "type": event_type,
            "content": content,
            "sender": self._own.user_id,
            "recipient": device.user_id,
            "recipient_keys": {"ed25519": device.ed25519},
            "keys": {"ed25519": self._own.ed25519},
            "sender_device_keys": self._own.device_keys(),
        }
        message_type, body = session.encrypt(orjson.dumps(plaintext)).to_parts()
        stored.advance_session(self._store, device.curve25519, session)
        return {
            "algorithm": OLM,
            "sender_key": self._own.curve25519,
            "ciphertext": {device.curve25519: {"type": message_type, "body": encode_base64(body)}},
        }

    def begin(self, account: Account, device: Device, one_time_key: str) -> None:
        """Begin a session of our account with a device, with a one-time key of it. Raises InvalidKeys."""
        try:
            session = account.create_outbound_session(
                Curve25519PublicKey.from_base64(device.curve25519), Curve25519PublicKey.from_base64(one_time_key)
            )
        except ValueError as error:
            raise InvalidKeys(f"the device {device.device_id} of {device.user_id}: {error}") from error
        stored.keep_session(self._store, device.curve25519, session)

    def decrypt(self, sender: UserId, content: JsonObject) -> OlmMessage:
        """Decrypt the content of an m.room.encrypted that was sent to us. Raises CannotDecrypt.

        To be called inside an attempt: if it raises, the ratchet and the one-time key must be as before.
        """
        sender_key, message_type, body = self._parse(content)
        plaintext = self._plaintext(sender_key, message_type, body)
        try:
            opened = parse_object(plaintext)
        except (NotJson, BadJson) as error:
            raise CannotDecrypt(Reason.BAD_PLAINTEXT, str(error)) from error
        return self._checked(sender, sender_key, opened)

    def digest(self, content: JsonObject) -> bytes:
        """Return what tells a message apart from all others."""
        sender_key, message_type, body = self._parse(content)
        return hashlib.sha256(b"%b %d %b" % (sender_key.encode(), message_type, body)).digest()

    def failed(self, sender: UserId, content: JsonObject) -> None:
        """Begin a new session with the device whose message cannot be decrypted; at most one an hour.

        https://spec.matrix.org/v1.19/client-server-api/#recovering-from-undecryptable-messages
        """
        sender_key = content.get("sender_key")
        if not isinstance(sender_key, str):
            return
        for device in stored_devices.devices_by_key(self._store, sender_key):
            if device.user_id == sender and not device.gone:
                self.want_new_session(device)
                return
        if not stored_devices.is_tracked(self._store, sender):
            # The first we hear of them: their devices are to be learned, and if this is one of them it is answered.
            stored_devices.track(self._store, [sender])
            trouble = stored.Trouble(sender, session_wanted=True, renewed_at_ms=self._clock())
            stored.keep_trouble(self._store, sender_key, trouble)

    def want_new_session(self, device: Device) -> None:
        """Begin a new session with a device, unless that was done in the last hour."""
        now_ms = self._clock()
        trouble = stored.trouble(self._store, device.curve25519) or stored.Trouble(device.user_id)
        if trouble.renewed_at_ms and now_ms - trouble.renewed_at_ms < _HOUR_MS:
            return
        _log.warning("the session with the device %s of %s is broken", device.device_id, device.user_id)
        stored.keep_trouble(self._store, device.curve25519, replace(trouble, session_wanted=True, renewed_at_ms=now_ms))

    def _parse(self, content: JsonObject) -> tuple[str, int, bytes]:
        """Return the sender's key, the type and the body of the message for us."""
        if content.get("algorithm") != OLM:
            # CVE-2022-39251: what comes by Megolm proves nothing about who sent it.
            raise CannotDecrypt(Reason.UNKNOWN_ALGORITHM, f"to a device only {OLM} is sent")
        ciphertexts = content.get("ciphertext")
        message = ciphertexts.get(self._own.curve25519) if isinstance(ciphertexts, dict) else None
        if message is None:
            raise CannotDecrypt(Reason.NOT_FOR_US)
        try:
            sender_key = public_key(content.get("sender_key"), "the sender's key")
            message_type = message["type"]
            body = decode_base64(message["body"])
        except (InvalidKeys, BadJson, KeyError, TypeError) as error:
            raise CannotDecrypt(Reason.NOT_ENCRYPTED, str(error)) from error
        if type(message_type) is not int or message_type not in {0, 1}:
            raise CannotDecrypt(Reason.NOT_ENCRYPTED, "the type of an Olm message is 0 or 1")
        return sender_key, message_type, body

    def _plaintext(self, sender_key: str, message_type: int, body: bytes) -> bytes:
        try:
            message = AnyOlmMessage.from_parts(message_type, body)
        except ValueError as error:
            raise CannotDecrypt(Reason.NOT_ENCRYPTED, str(error)) from error
        pre_key = message.to_pre_key() if message_type == _PRE_KEY else None
        sessions = stored.sessions(self._store, sender_key)
        if pre_key is not None:
            sessions = [session for session in sessions if session.session_matches(pre_key)]
        for session in sessions:
            try:
                plaintext = session.decrypt(message)
            except ValueError:
                continue
            stored.keep_session(self._store, sender_key, session)
            return plaintext
        if pre_key is None or sessions:
            raise CannotDecrypt(Reason.NO_SESSION, f"none of {len(sessions)} does")
        session, plaintext = self._begun_by(sender_key, pre_key)
        stored.keep_session(self._store, sender_key, session)
        return plaintext

    def _begun_by(self, sender_key: str, message: PreKeyMessage) -> tuple[Session, bytes]:
        account = self._own.account()
        try:
            session, plaintext = account.create_inbound_session(Curve25519PublicKey.from_base64(sender_key), message)
        except ValueError as error:
            raise CannotDecrypt(Reason.NO_SESSION, str(error)) from error
        # The one-time key is used up.
        self._own.keep_account(account)
        return session, plaintext

    def _checked(self, sender: UserId, sender_key: str, opened: JsonObject) -> OlmMessage:
        """Check what was encrypted; the numbers are those of the text.

        https://spec.matrix.org/v1.19/client-server-api/#validation-of-incoming-decrypted-events
        """
        event_type, content = opened.get("type"), opened.get("content")
        if not isinstance(event_type, str) or not isinstance(content, dict):
            raise CannotDecrypt(Reason.BAD_PLAINTEXT, "it has no type, or no content")
        if opened.get("sender") != sender:  # 1
            raise CannotDecrypt(Reason.BAD_KEYS, "it names another sender")
        ed25519 = _ed25519(opened.get("keys"))
        if ed25519 is None:
            raise CannotDecrypt(Reason.BAD_KEYS, "it does not name the sender's key")
        if opened.get("recipient") != self._own.user_id:  # 3
            raise CannotDecrypt(Reason.BAD_KEYS, "it names another recipient")
        if _ed25519(opened.get("recipient_keys")) != self._own.ed25519:  # 4
            raise CannotDecrypt(Reason.BAD_KEYS, "it names another key of the recipient")
        introduced = self._introduced(sender, sender_key, ed25519, opened.get("sender_device_keys"))  # 5
        device = introduced
        for known in stored_devices.devices_by_key(self._store, sender_key):
            if known.user_id != sender:
                # Somebody claims another's key as their own; who is right the message shows, by the ed25519 key.
                continue
            if known.ed25519 != ed25519:  # 2
                raise CannotDecrypt(Reason.BAD_KEYS, "the key it names is not that of the sender's device")
            device = known
            break
        return OlmMessage(sender, event_type, content, sender_key, ed25519, device)

    def _introduced(self, sender: UserId, sender_key: str, ed25519: str, keys: Any) -> Device | None:
        if keys is None:
            return None
        device_id = keys.get("device_id") if isinstance(keys, dict) else None
        if not isinstance(device_id, str):
            raise CannotDecrypt(Reason.BAD_KEYS, "the keys of the sender's device are malformed")
        try:
            device = Device.parse(sender, DeviceId(device_id), keys)
        except InvalidKeys as error:
            raise CannotDecrypt(Reason.BAD_KEYS, str(error)) from error
        if device.curve25519 != sender_key or device.ed25519 != ed25519:
            raise CannotDecrypt(Reason.BAD_KEYS, "the keys of the sender's device are not those it was encrypted with")
        return device


def _ed25519(keys: Any) -> str | None:
    key = keys.get("ed25519") if isinstance(keys, dict) else None
    return key if isinstance(key, str) else None
