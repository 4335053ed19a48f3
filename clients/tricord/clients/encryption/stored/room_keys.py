"""Keys of messages in rooms: Megolm sessions as far as they decrypt, and keys that are missing."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from sqlite3 import Row

import orjson
from vodozemac import InboundGroupSession

from tricord.clients.encryption.store import PICKLE_KEY, Store
from tricord.protocol.identifiers import EventId, RoomId, UserId
from tricord.protocol.strict_json import JsonObject

_MOST_WAITING_EVENTS = 5_000
_WITHHELD_FOR_MS = 90 * 24 * 3_600_000
_MOST_WITHHELD_BY_ONE = 1_000


class Origin(enum.Enum):
    """How a key came to us."""

    OWN = "we made it"
    RECEIVED = "the device that made it sent it to us"
    FORWARDED = "another device of ours passed it on"
    BACKUP = "it was in the backup"
    EXPORT = "it was in a file"
    BUNDLE = "whoever invited us passed it on"

    @property
    def is_authentic(self) -> bool:
        """Whether it is certain which device made it; otherwise it is what somebody said."""
        return self in {Origin.OWN, Origin.RECEIVED}


@dataclass(frozen=True, slots=True)
class RoomKey:
    """A key, and whose it is: of the device with these two keys, of this user if that is certain."""

    room_id: RoomId
    session_id: str
    session: InboundGroupSession
    sender_key: str
    ed25519: str
    user_id: UserId | None
    origin: Origin
    shared_history: bool = False
    forwarders: tuple[str, ...] = ()

    @property
    def first_index(self) -> int:
        """From which message on it decrypts."""
        return int(self.session.first_known_index)

    def exported(self) -> str:
        """Return the key from its first message on, as exports, backups and forwards hold it."""
        exported = self.session.export_at(self.first_index)
        assert exported is not None  # noqa: S101  # of an index that it has
        return exported.to_base64()


@dataclass(frozen=True, slots=True)
class Withheld:
    """Why somebody did not give us a key."""

    user_id: UserId
    code: str
    reason: str


def room_key(store: Store, room_id: RoomId, session_id: str) -> RoomKey | None:
    """Return the key of a session, if we have it."""
    row = store.row("SELECT * FROM room_keys WHERE room_id = ? AND session_id = ?", room_id, session_id)
    return None if row is None else _room_key(store, row)


def room_keys(store: Store, room_id: RoomId | None = None) -> Iterable[RoomKey]:
    """Give all keys, or those of a room, one after another."""
    rows = store.rows("SELECT room_id, session_id FROM room_keys WHERE coalesce(?, room_id) = room_id", room_id)
    for row in rows:
        found = room_key(store, RoomId(row["room_id"]), row["session_id"])
        if found is not None:
            yield found


def keep_room_key(store: Store, kept: RoomKey, now_ms: int) -> None:
    """Keep a key, in place of a worse one; it is not in the backup yet."""
    place = _place(kept.room_id, kept.session_id)
    store.change(
        "INSERT OR REPLACE INTO room_keys (room_id, session_id, sealed, first_index, sender_key, ed25519, user_id,"
        " origin, shared_history, forwarders, received_at_ms, backed_up_in)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)",
        kept.room_id,
        kept.session_id,
        store.seal(place, kept.session.pickle(PICKLE_KEY).encode()),
        kept.first_index,
        kept.sender_key,
        kept.ed25519,
        kept.user_id,
        kept.origin.name,
        kept.shared_history,
        orjson.dumps(kept.forwarders).decode(),
        now_ms,
    )


def not_backed_up(store: Store, version: str, limit: int) -> list[RoomKey]:
    """Return some of the keys that a version of the backup does not have."""
    rows = store.rows("SELECT * FROM room_keys WHERE backed_up_in IS NOT ? LIMIT ?", version, limit)
    return [_room_key(store, row) for row in rows]


def mark_backed_up(store: Store, version: str, keys: Iterable[RoomKey]) -> None:
    """Remember that a version of the backup has keys; unless a better one has come meanwhile."""
    for key in keys:
        store.change(
            "UPDATE room_keys SET backed_up_in = ? WHERE room_id = ? AND session_id = ? AND first_index = ?",
            version,
            key.room_id,
            key.session_id,
            key.first_index,
        )


def claim_index(store: Store, room_id: RoomId, session_id: str, index: int, event_id: EventId) -> bool:
    """Note which event has a message index; return whether it is the only one that ever had it."""
    added = store.change(
        "INSERT OR IGNORE INTO message_indices (room_id, session_id, message_index, event_id) VALUES (?, ?, ?, ?)",
        room_id,
        session_id,
        index,
        event_id,
    )
    if added:
        return True
    row = store.row(
        "SELECT event_id FROM message_indices WHERE room_id = ? AND session_id = ? AND message_index = ?",
        room_id,
        session_id,
        index,
    )
    return row is not None and row["event_id"] == event_id


def note_withheld(store: Store, room_id: str, session_id: str, withheld: Withheld, now_ms: int) -> None:
    """Note why somebody did not give us a key; with empty ids, any key of theirs."""
    store.change(
        "INSERT OR REPLACE INTO withheld_keys (room_id, session_id, user_id, code, reason, received_at_ms)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        room_id,
        session_id,
        withheld.user_id,
        withheld.code,
        withheld.reason,
        now_ms,
    )
    store.change("DELETE FROM withheld_keys WHERE received_at_ms < ?", now_ms - _WITHHELD_FOR_MS)
    store.change(
        "DELETE FROM withheld_keys WHERE (room_id, session_id, user_id) IN (SELECT room_id, session_id, user_id"
        " FROM withheld_keys WHERE user_id = ? ORDER BY received_at_ms DESC LIMIT -1 OFFSET ?)",
        withheld.user_id,
        _MOST_WITHHELD_BY_ONE,
    )


def withheld_by(store: Store, room_id: RoomId, session_id: str, user_id: UserId) -> Withheld | None:
    """Return why a user did not give us a key, if they said so."""
    row = store.row(
        "SELECT * FROM withheld_keys WHERE user_id = ? AND ((room_id = ? AND session_id = ?) OR room_id = '')"
        " ORDER BY room_id DESC LIMIT 1",
        user_id,
        room_id,
        session_id,
    )
    return None if row is None else Withheld(UserId(row["user_id"]), row["code"], row["reason"])


def let_wait(store: Store, room_id: RoomId, session_id: str, index: int, event: JsonObject) -> None:
    """Keep an event whose key may still come; of too many the oldest are dropped."""
    store.change(
        "INSERT OR IGNORE INTO waiting_events (room_id, event_id, session_id, message_index, event)"
        " VALUES (?, ?, ?, ?, ?)",
        room_id,
        event["event_id"],
        session_id,
        index,
        orjson.dumps(event).decode(),
    )
    store.change(
        "DELETE FROM waiting_events WHERE number <= (SELECT max(number) FROM waiting_events) - ?", _MOST_WAITING_EVENTS
    )


def late_events(store: Store, limit: int) -> list[tuple[RoomId, JsonObject]]:
    """Return the oldest of the events that waited and whose key has come."""
    rows = store.rows(
        "SELECT waiting_events.room_id, event FROM waiting_events JOIN room_keys USING (room_id, session_id)"
        " WHERE first_index <= message_index ORDER BY number LIMIT ?",
        limit,
    )
    return [(RoomId(row["room_id"]), orjson.loads(row["event"])) for row in rows]


def forget_waiting(store: Store, room_id: RoomId, event_id: EventId) -> None:
    """Forget an event that waits no more."""
    store.change("DELETE FROM waiting_events WHERE room_id = ? AND event_id = ?", room_id, event_id)


def _room_key(store: Store, row: Row) -> RoomKey:
    room_id, session_id = RoomId(row["room_id"]), row["session_id"]
    pickle = store.unseal(_place(room_id, session_id), row["sealed"]).decode()
    return RoomKey(
        room_id,
        session_id,
        InboundGroupSession.from_pickle(pickle, PICKLE_KEY),
        row["sender_key"],
        row["ed25519"],
        None if row["user_id"] is None else UserId(row["user_id"]),
        Origin[row["origin"]],
        bool(row["shared_history"]),
        tuple(orjson.loads(row["forwarders"])),
    )


def _place(room_id: RoomId, session_id: str) -> str:
    return f"room key {room_id} {session_id}"
