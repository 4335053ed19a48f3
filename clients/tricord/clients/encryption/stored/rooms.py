"""Rooms, for encryption: how each is encrypted, who is in it, and who has the key of our session."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import orjson
from vodozemac import GroupSession

from tricord.clients.encryption.devices import Device
from tricord.clients.encryption.store import PICKLE_KEY, Store
from tricord.protocol.identifiers import DeviceId, RoomId, UserId

# https://spec.matrix.org/v1.19/client-server-api/#mroomencryption
WEEK_MS = 7 * 24 * 3_600_000
HUNDRED_MESSAGES = 100


@dataclass(frozen=True, slots=True)
class EncryptedRoom:
    """How a room is encrypted; and whether all of its members are known."""

    room_id: RoomId
    algorithm: str
    rotation_ms: int = WEEK_MS
    rotation_messages: int = HUNDRED_MESSAGES
    history_visibility: str = "shared"
    complete: bool = False

    @property
    def shares_history(self) -> bool:
        """Whether who joins later may read what is said now."""
        return self.history_visibility in {"shared", "world_readable"}

    @property
    def invited_may_read(self) -> bool:
        """Whether who is invited may read what is said before they join."""
        return self.history_visibility != "joined"


@dataclass(frozen=True, slots=True)
class OwnSession:
    """The session that we encrypt with in a room."""

    room_id: RoomId
    session_id: str
    session: GroupSession
    created_at_ms: int
    messages: int
    shared_history: bool
    ready_until_ms: int


@dataclass(frozen=True, slots=True)
class SessionPart:
    """A session of ours from one message on, which is how far back its key reaches."""

    room_id: RoomId
    session_id: str
    message_index: int
    session_key: str
    shared_history: bool

    @classmethod
    def rest_of(cls, session: OwnSession) -> SessionPart:
        """Return what is still to be said in a session."""
        group = session.session
        return cls(
            session.room_id,
            session.session_id,
            group.message_index,
            group.session_key.to_base64(),
            session.shared_history,
        )


@dataclass(frozen=True, slots=True)
class Share:
    """A device that was given the key of our session, from which message on; or why it was not."""

    curve25519: str
    message_index: int
    withheld: str | None = None


def room(store: Store, room_id: RoomId) -> EncryptedRoom | None:
    """Return how a room is encrypted; None if it is not, as far as we know."""
    row = store.row("SELECT * FROM rooms WHERE room_id = ?", room_id)
    if row is None:
        return None
    return EncryptedRoom(
        RoomId(row["room_id"]),
        row["algorithm"],
        row["rotation_ms"],
        row["rotation_messages"],
        row["history_visibility"],
        bool(row["complete"]),
    )


def keep_room(store: Store, kept: EncryptedRoom) -> None:
    """Keep how a room is encrypted."""
    store.change(
        "INSERT OR REPLACE INTO rooms (room_id, algorithm, rotation_ms, rotation_messages, history_visibility,"
        " complete) VALUES (?, ?, ?, ?, ?, ?)",
        kept.room_id,
        kept.algorithm,
        kept.rotation_ms,
        kept.rotation_messages,
        kept.history_visibility,
        kept.complete,
    )


def forget_all_members(store: Store) -> None:
    """Take the members of all rooms for unknown."""
    store.change("UPDATE rooms SET complete = 0")
    store.change("UPDATE own_sessions SET ready_until_ms = 0")


def forget_members_except(store: Store, room_ids: Collection[RoomId]) -> None:
    """Take the members of all rooms but some for unknown."""
    kept = orjson.dumps(list(room_ids)).decode()
    others = "room_id NOT IN (SELECT value FROM json_each(?))"
    store.change(f"UPDATE rooms SET complete = 0 WHERE complete AND {others}", kept)  # noqa: S608
    store.change(f"UPDATE own_sessions SET ready_until_ms = 0 WHERE ready_until_ms AND {others}", kept)  # noqa: S608


def members(store: Store, room_id: RoomId, *, invited: bool) -> set[UserId]:
    """Return who is in a room, or invited too."""
    rows = store.rows("SELECT user_id FROM members WHERE room_id = ? AND (? OR membership = 'join')", room_id, invited)
    return {UserId(row["user_id"]) for row in rows}


def membership(store: Store, room_id: RoomId, user_id: UserId) -> str | None:
    """Return whether somebody is joined or invited; None for neither."""
    row = store.row("SELECT membership FROM members WHERE room_id = ? AND user_id = ?", room_id, user_id)
    return None if row is None else row["membership"]


def set_membership(store: Store, room_id: RoomId, user_id: UserId, now: str) -> None:
    """Note somebody's membership: who is neither joined nor invited is left out."""
    if now in {"join", "invite"}:
        sql = "INSERT OR REPLACE INTO members (room_id, user_id, membership) VALUES (?, ?, ?)"
        store.change(sql, room_id, user_id, now)
    else:
        store.change("DELETE FROM members WHERE room_id = ? AND user_id = ?", room_id, user_id)


def own_session(store: Store, room_id: RoomId) -> OwnSession | None:
    """Return the session that we encrypt with in a room."""
    row = store.row("SELECT * FROM own_sessions WHERE room_id = ?", room_id)
    if row is None:
        return None
    pickle = store.unseal(f"own session {room_id}", row["sealed"]).decode()
    return OwnSession(
        room_id,
        row["session_id"],
        GroupSession.from_pickle(pickle, PICKLE_KEY),
        row["created_at_ms"],
        row["messages"],
        bool(row["shared_history"]),
        row["ready_until_ms"],
    )


def keep_own_session(store: Store, kept: OwnSession) -> None:
    """Keep the session that we encrypt with in a room."""
    store.change(
        "INSERT OR REPLACE INTO own_sessions (room_id, session_id, sealed, created_at_ms, messages, shared_history,"
        " ready_until_ms) VALUES (?, ?, ?, ?, ?, ?, ?)",
        kept.room_id,
        kept.session_id,
        store.seal(f"own session {kept.room_id}", kept.session.pickle(PICKLE_KEY).encode()),
        kept.created_at_ms,
        kept.messages,
        kept.shared_history,
        kept.ready_until_ms,
    )


def advance_own_session(store: Store, advanced: OwnSession, messages: int) -> None:
    """Keep the ratchet of a session as it is after so many more messages."""
    store.change(
        "UPDATE own_sessions SET sealed = ?, messages = messages + ? WHERE room_id = ?",
        store.seal(f"own session {advanced.room_id}", advanced.session.pickle(PICKLE_KEY).encode()),
        messages,
        advanced.room_id,
    )


def set_ready(store: Store, room_id: RoomId, until_ms: int) -> None:
    """Note until when everybody has the key of our session."""
    store.change("UPDATE own_sessions SET ready_until_ms = ? WHERE room_id = ?", until_ms, room_id)


def end_own_session(store: Store, room_id: RoomId) -> None:
    """Encrypt no more with the session of a room: the next message has another."""
    store.change("DELETE FROM own_sessions WHERE room_id = ?", room_id)
    forget_ended_shares(store, room_id)


def recipients_changed(store: Store, user_ids: Iterable[UserId]) -> None:
    """Take for uncertain whether everybody has the key, in the rooms that users are in: their devices changed."""
    for user_id in user_ids:
        store.change(
            "UPDATE own_sessions SET ready_until_ms = 0"
            " WHERE room_id IN (SELECT room_id FROM members WHERE user_id = ?)",
            user_id,
        )


def shares(store: Store, room_id: RoomId, session_id: str) -> dict[tuple[UserId, DeviceId], Share]:
    """Return who has the key of a session."""
    rows = store.rows("SELECT * FROM shares WHERE room_id = ? AND session_id = ?", room_id, session_id)
    return {
        (UserId(row["user_id"]), DeviceId(row["device_id"])): Share(
            row["curve25519"], row["message_index"], row["withheld"]
        )
        for row in rows
    }


def note_share(
    store: Store, room_id: RoomId, session_id: str, device: Device, message_index: int, withheld: str | None = None
) -> None:
    """Note that a device is given the key of a session from a message on; or why not."""
    store.change(
        "INSERT OR REPLACE INTO shares (room_id, session_id, user_id, device_id, curve25519, message_index, withheld)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        room_id,
        session_id,
        device.user_id,
        device.device_id,
        device.curve25519,
        message_index,
        withheld,
    )


def forget_ended_shares(store: Store, room_id: RoomId) -> None:
    """Forget who has the keys of sessions that have ended, but for those whose key is still owed to somebody."""
    store.change(
        "DELETE FROM shares WHERE room_id = ?"
        " AND session_id NOT IN (SELECT session_id FROM own_sessions WHERE room_id = ?)"
        " AND session_id NOT IN (SELECT session_id FROM owed_keys WHERE room_id = ?)",
        room_id,
        room_id,
        room_id,
    )
