"""Messages to our device: opened if they are encrypted, and brought to the part that they are for."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from tricord.clients.encryption.device_lists import DeviceLists
from tricord.clients.encryption.errors import CannotDecrypt, EncryptionError, InvalidKeys, Reason
from tricord.clients.encryption.key_requests import KeyRequests
from tricord.clients.encryption.megolm import Megolm
from tricord.clients.encryption.olm import Olm, OlmMessage
from tricord.clients.encryption.store import Store
from tricord.clients.encryption.stored import devices as stored_devices
from tricord.clients.encryption.stored import olm as stored_olm
from tricord.clients.encryption.stored import room_keys as stored_keys
from tricord.clients.encryption.stored.room_keys import RoomKey, Withheld
from tricord.protocol.identifiers import UserId
from tricord.protocol.strict_json import JsonObject

_log = logging.getLogger(__name__)

_MOST_ASKED_ABOUT = 1_000
# What is said between devices in clear is worth nothing as these.
_ONLY_ENCRYPTED = frozenset({"m.room_key", "m.forwarded_room_key", "m.secret.send", "m.room_key_bundle", "m.dummy"})


@dataclass(frozen=True, slots=True)
class ToDevice:
    """A message to our device that is not about keys of rooms; `olm` says who sent it, if it was encrypted."""

    sender: UserId
    event_type: str
    content: JsonObject
    olm: OlmMessage | None = None


@dataclass(slots=True)
class Received:
    """What a sync brought to our device."""

    to_device: list[ToDevice] = field(default_factory=list)
    room_keys: list[RoomKey] = field(default_factory=list)


class Inbox:
    """Takes in messages to our device, in the transaction of the sync that brings them."""

    def __init__(
        self,
        store: Store,
        lists: DeviceLists,
        olm: Olm,
        megolm: Megolm,
        key_requests: KeyRequests,
        clock: Callable[[], int],
    ) -> None:
        self._store = store
        self._lists = lists
        self._olm = olm
        self._megolm = megolm
        self._key_requests = key_requests
        self._clock = clock
        self._handlers: dict[str, list[Callable[[ToDevice], None]]] = {}
        self._asked_about: set[str] = set()

    def on(self, event_type: str, handler: Callable[[ToDevice], None]) -> None:
        """Let a handler have messages of a type."""
        self._handlers.setdefault(event_type, []).append(handler)

    def take(self, events: Iterable[Any]) -> Received:
        """Take in messages, each for itself."""
        received = Received()
        for event in events:
            self._isolated(self._take, event, received)
        return received

    def _take(self, event: Any, received: Received) -> None:
        if not isinstance(event, dict):
            return
        sender, event_type, content = event.get("sender"), event.get("type"), event.get("content")
        if not isinstance(sender, str) or not isinstance(event_type, str) or not isinstance(content, dict):
            return
        if event_type == "m.room.encrypted":
            self._take_encrypted(UserId(sender), content, received)
        elif event_type in _ONLY_ENCRYPTED:
            _log.warning("%s sent a %s that is not encrypted", sender, event_type)
        elif event_type == "m.room_key_request":
            self._key_requests.asked(UserId(sender), content)
        elif event_type == "m.room_key.withheld":
            self._take_withheld(UserId(sender), content)
        else:
            self._hand_over(ToDevice(UserId(sender), event_type, content), received)

    def _take_encrypted(self, sender: UserId, content: JsonObject, received: Received) -> None:
        try:
            digest = self._olm.digest(content)
            if stored_olm.was_seen(self._store, digest):
                # The sync was repeated: its ratchet has moved on, and that is no fault of the session's.
                return
            stored_olm.mark_seen(self._store, digest, self._clock())
            with self._store.attempt():
                message = self._olm.decrypt(sender, content)
        except CannotDecrypt as reason:
            _log.warning("a message of %s to our device cannot be decrypted: %s", sender, reason)
            if reason.reason is Reason.NO_SESSION:
                self._olm.failed(sender, content)
            return
        # The ratchet has moved, whatever comes of the message.
        self._isolated(self._take_olm, message, received)

    def _take_olm(self, message: OlmMessage, received: Received) -> None:
        self._ask_about_new_device(message)
        key = None
        match message.event_type:
            case "m.room_key":
                key = self._megolm.take(message)
                self._lists.follow([message.sender])
            case "m.forwarded_room_key":
                key = self._key_requests.forwarded(message)
            case "m.dummy":
                pass
            case "m.room_key.withheld":
                self._take_withheld(message.sender, message.content)
            case _:
                self._hand_over(ToDevice(message.sender, message.event_type, message.content, message), received)
        if key is not None:
            self._key_requests.arrived(key)
            received.room_keys.append(key)

    def _ask_about_new_device(self, message: OlmMessage) -> None:
        """Ask for the devices of somebody who writes from one that we do not know.

        Across servers a message may come sooner than the news of its device, which is to have the keys of our answers.
        """
        known = stored_devices.devices_by_key(self._store, message.sender_key)
        if message.sender_key in self._asked_about or any(device.user_id == message.sender for device in known):
            return
        # Once: it may be one that its user keeps from us.
        if len(self._asked_about) >= _MOST_ASKED_ABOUT:
            self._asked_about.clear()
        self._asked_about.add(message.sender_key)
        self._lists.changed([message.sender])

    def _take_withheld(self, sender: UserId, content: JsonObject) -> None:
        """https://spec.matrix.org/v1.19/client-server-api/#reporting-that-decryption-keys-are-withheld ."""
        room_id, session_id, code = content.get("room_id", ""), content.get("session_id", ""), content.get("code")
        reason = content.get("reason")
        if not (isinstance(room_id, str) and isinstance(session_id, str) and isinstance(code, str)):
            return
        withheld = Withheld(sender, code[:100], reason[:1000] if isinstance(reason, str) else "")
        if code == "m.no_olm":
            stored_keys.note_withheld(self._store, "", "", withheld, self._clock())
            self._olm.failed(sender, content)
        elif room_id and session_id:
            stored_keys.note_withheld(self._store, room_id, session_id, withheld, self._clock())

    def _hand_over(self, message: ToDevice, received: Received) -> None:
        for handler in self._handlers.get(message.event_type, ()):
            handler(message)
        received.to_device.append(message)

    def _isolated(self, function: Callable[..., None], *arguments: Any) -> None:
        """Let something foreign be taken in: whatever is wrong with it harms only itself."""
        try:
            with self._store.attempt():
                function(*arguments)
        except (EncryptionError, InvalidKeys) as reason:
            _log.warning("%s", reason)
        except Exception:  # noqa: BLE001  # a fault of ours must not stop the sync for ever
            _log.exception("a message to our device is left out")
