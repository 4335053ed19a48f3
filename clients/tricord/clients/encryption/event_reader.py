"""Decrypting the events of rooms: as they come, and later, once their keys have come."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from tricord.clients.encryption.errors import CannotDecrypt, Reason
from tricord.clients.encryption.key_requests import KeyRequests
from tricord.clients.encryption.megolm import Decrypted, Megolm
from tricord.clients.encryption.opened import LateEvent
from tricord.clients.encryption.policy import Policy
from tricord.clients.encryption.store import Store
from tricord.clients.encryption.stored import room_keys as stored_keys
from tricord.protocol.identifiers import EventId, RoomId
from tricord.protocol.strict_json import JsonObject

_log = logging.getLogger(__name__)

_LATE_EVENTS_AT_ONCE = 500
_KEY_MAY_COME = frozenset({Reason.NO_KEY, Reason.WITHHELD, Reason.KEY_TOO_LATE})


class EventReader:
    """Decrypts events of rooms, and remembers those that wait for their keys."""

    def __init__(self, store: Store, megolm: Megolm, key_requests: KeyRequests, policy: Policy) -> None:
        self._store = store
        self._megolm = megolm
        self._key_requests = key_requests
        self._policy = policy

    def decrypt_all(
        self, room_id: RoomId, events: Iterable[JsonObject], *, wait: bool = False
    ) -> list[Decrypted | CannotDecrypt]:
        """Decrypt events of a room, each for itself.

        If the key of one is missing, our other devices are asked for it; and with `wait` it is among the late events
        once the key has come.
        """
        with self._store.transaction():
            return [self._decrypt(room_id, event, wait=wait) for event in events]

    def late_events(self) -> list[LateEvent]:
        """Return events that waited for their key and can be decrypted now, until they are `handled`."""
        found = []
        with self._store.transaction():
            for room_id, event in stored_keys.late_events(self._store, _LATE_EVENTS_AT_ONCE):
                decrypted = self._decrypt(room_id, event, wait=False)
                if isinstance(decrypted, Decrypted):
                    found.append(LateEvent(room_id, event, decrypted))
                else:
                    _log.warning("%s: %s", event["event_id"], decrypted)
                    stored_keys.forget_waiting(self._store, room_id, EventId(event["event_id"]))
        return found

    def handled(self, late: Sequence[LateEvent]) -> None:
        """Take in that late events have reached whoever wants them."""
        if late:
            with self._store.transaction():
                for one in late:
                    stored_keys.forget_waiting(self._store, one.room_id, EventId(one.event["event_id"]))

    def _decrypt(self, room_id: RoomId, event: JsonObject, *, wait: bool) -> Decrypted | CannotDecrypt:
        try:
            with self._store.attempt():
                decrypted = self._megolm.decrypt(room_id, event)
                if self._policy is Policy.CROSS_SIGNED and not decrypted.standing.is_vouched_for:
                    raise CannotDecrypt(Reason.UNTRUSTED_DEVICE, session_id=decrypted.session_id)
                return decrypted
        except CannotDecrypt as reason:
            if reason.reason in _KEY_MAY_COME and reason.session_id is not None:
                self._key_requests.ask(room_id, reason.session_id)
                if wait:
                    self._megolm.let_wait(room_id, event)
            return reason
        except Exception as error:  # noqa: BLE001  # one event harms only itself
            _log.exception("an event of %s cannot be decrypted", room_id)
            return CannotDecrypt(Reason.NOT_ENCRYPTED, repr(error))
