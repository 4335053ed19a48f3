"""The sessions that we encrypt with in rooms, and their ratchets, which must never go back.

A ratchet is stored before what it has encrypted leaves, and written through to the disk, which takes longer than all
the rest. So several places of it are reserved at once: the ratchet is stored as it will be after them, and in memory
they are used up. After a crash those that were left over stay unused, which harms nobody.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from vodozemac import GroupSession

from tricord.clients.encryption.store import PICKLE_KEY, Store
from tricord.clients.encryption.stored import rooms as stored
from tricord.clients.encryption.stored.rooms import OwnSession
from tricord.protocol.identifiers import RoomId

_RESERVED_AT_ONCE = 16


@dataclass(slots=True)
class _Reserved:
    """A session as it is before the places that are reserved, and how many of them are left."""

    session_id: str
    session: GroupSession
    left: int


class OwnSessions:
    """One session a room."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._reserved: dict[RoomId, _Reserved] = {}

    def current(self, room_id: RoomId) -> OwnSession | None:
        """Return the session of a room, its ratchet where the next message will be."""
        kept = stored.own_session(self._store, room_id)
        reserved = self._reserved.get(room_id)
        if kept is None or reserved is None or reserved.session_id != kept.session_id:
            self._reserved.pop(room_id, None)
            return kept
        return replace(kept, session=reserved.session, messages=kept.messages - reserved.left)

    def encrypt(self, session: OwnSession, plaintext: bytes, rotation_messages: int) -> str:
        """Encrypt a message with the current session of a room."""
        reserved = self._reserved.get(session.room_id)
        if reserved is None or not reserved.left:
            count = max(1, min(_RESERVED_AT_ONCE, rotation_messages - session.messages))
            reserved = self._reserved[session.room_id] = self._reserve(session, count)
        reserved.left -= 1
        return reserved.session.encrypt(plaintext).to_base64()

    def _reserve(self, session: OwnSession, count: int) -> _Reserved:
        ahead = GroupSession.from_pickle(session.session.pickle(PICKLE_KEY), PICKLE_KEY)
        for _ in range(count):
            # A ratchet moves only by encrypting; this leads nowhere.
            ahead.encrypt(b"")
        with self._store.transaction():
            stored.advance_own_session(self._store, replace(session, session=ahead), count)
        return _Reserved(session.session_id, session.session, count)
