"""Olm sessions, what goes wrong with them, and messages that wait for one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import orjson
from vodozemac import Session

from tricord.clients.encryption.devices import Device
from tricord.clients.encryption.store import PICKLE_KEY, Store
from tricord.protocol.identifiers import DeviceId, UserId
from tricord.protocol.strict_json import JsonObject

# The text asks for at least 4.
_MOST_SESSIONS = 8
_SEEN_FOR_MS = 7 * 24 * 3_600_000


@dataclass(frozen=True, slots=True)
class Trouble:
    """What went wrong with a device, of this user as they say."""

    user_id: UserId
    session_wanted: bool = False
    renewed_at_ms: int = 0
    claim_after_ms: int = 0
    claims_failed: int = 0
    told_no_olm: bool = False


@dataclass(frozen=True, slots=True)
class WaitingMessage:
    """A message to a device that waits for a session."""

    number: int
    user_id: UserId
    device_id: DeviceId
    event_type: str
    content: JsonObject


def sessions(store: Store, sender_key: str) -> list[Session]:
    """Return the sessions with a device, the one to encrypt with first."""
    rows = store.rows("SELECT * FROM olm_sessions WHERE sender_key = ? ORDER BY used DESC", sender_key)
    return [_session(store, sender_key, row["session_id"], row["sealed"]) for row in rows]


def newest_session(store: Store, sender_key: str) -> Session | None:
    """Return the session with a device that is to be encrypted with: the one that last decrypted something."""
    row = store.row("SELECT * FROM olm_sessions WHERE sender_key = ? ORDER BY used DESC LIMIT 1", sender_key)
    return None if row is None else _session(store, sender_key, row["session_id"], row["sealed"])


def has_session(store: Store, sender_key: str) -> bool:
    """Return whether there is a session with a device."""
    return store.row("SELECT 1 FROM olm_sessions WHERE sender_key = ?", sender_key) is not None


def keep_session(store: Store, sender_key: str, session: Session) -> None:
    """Keep a session that is new, or has decrypted something: it is the one to encrypt with; the oldest are dropped."""
    store.change(
        "INSERT OR REPLACE INTO olm_sessions (sender_key, session_id, sealed, used)"
        " VALUES (?, ?, ?, (SELECT coalesce(max(used), 0) + 1 FROM olm_sessions WHERE sender_key = ?))",
        sender_key,
        session.session_id,
        _sealed(store, sender_key, session),
        sender_key,
    )
    store.change(
        "DELETE FROM olm_sessions WHERE sender_key = ? AND session_id NOT IN"
        " (SELECT session_id FROM olm_sessions WHERE sender_key = ? ORDER BY used DESC LIMIT ?)",
        sender_key,
        sender_key,
        _MOST_SESSIONS,
    )


def advance_session(store: Store, sender_key: str, session: Session) -> None:
    """Keep the ratchet of a session that has encrypted something."""
    store.change(
        "UPDATE olm_sessions SET sealed = ? WHERE sender_key = ? AND session_id = ?",
        _sealed(store, sender_key, session),
        sender_key,
        session.session_id,
    )


def trouble(store: Store, sender_key: str) -> Trouble | None:
    """Return what went wrong with a device, if anything did."""
    row = store.row("SELECT * FROM olm_troubles WHERE sender_key = ?", sender_key)
    if row is None:
        return None
    return Trouble(
        UserId(row["user_id"]),
        bool(row["session_wanted"]),
        row["renewed_at_ms"],
        row["claim_after_ms"],
        row["claims_failed"],
        bool(row["told_no_olm"]),
    )


def keep_trouble(store: Store, sender_key: str, kept: Trouble) -> None:
    """Keep what went wrong with a device."""
    store.change(
        "INSERT OR REPLACE INTO olm_troubles (sender_key, user_id, session_wanted, renewed_at_ms, claim_after_ms,"
        " claims_failed, told_no_olm) VALUES (?, ?, ?, ?, ?, ?, ?)",
        sender_key,
        kept.user_id,
        kept.session_wanted,
        kept.renewed_at_ms,
        kept.claim_after_ms,
        kept.claims_failed,
        kept.told_no_olm,
    )


def wanted_sessions(store: Store, now_ms: int) -> list[tuple[UserId, str]]:
    """Return the devices with which a new session is to be begun, by user and curve25519 key."""
    rows = store.rows("SELECT * FROM olm_troubles WHERE session_wanted AND claim_after_ms <= ?", now_ms)
    return [(UserId(row["user_id"]), row["sender_key"]) for row in rows]


def was_seen(store: Store, digest: bytes) -> bool:
    """Return whether a message was taken in before."""
    return store.row("SELECT 1 FROM olm_messages_seen WHERE hash = ?", digest) is not None


def mark_seen(store: Store, digest: bytes, now_ms: int) -> None:
    """Remember that a message was taken in; for a week, within which no sync brings it again."""
    store.change("INSERT OR IGNORE INTO olm_messages_seen (hash, seen_at_ms) VALUES (?, ?)", digest, now_ms)
    store.change("DELETE FROM olm_messages_seen WHERE seen_at_ms < ?", now_ms - _SEEN_FOR_MS)


def put_waiting(store: Store, device: Device, event_type: str, content: JsonObject, now_ms: int) -> None:
    """Let a message to a device wait for a session."""
    sealed = store.seal("waiting message", orjson.dumps([event_type, content]))
    store.change(
        "INSERT INTO waiting_messages (user_id, device_id, sealed, put_at_ms) VALUES (?, ?, ?, ?)",
        device.user_id,
        device.device_id,
        sealed,
        now_ms,
    )


def waiting(store: Store) -> list[WaitingMessage]:
    """Return the messages that wait."""
    return [
        WaitingMessage(
            row["number"],
            UserId(row["user_id"]),
            DeviceId(row["device_id"]),
            *orjson.loads(store.unseal("waiting message", row["sealed"])),
        )
        for row in store.rows("SELECT * FROM waiting_messages ORDER BY number")
    ]


def forget_waiting(store: Store, numbers: Iterable[int]) -> None:
    """Forget messages that wait no more."""
    for number in numbers:
        store.change("DELETE FROM waiting_messages WHERE number = ?", number)


def forget_old_waiting(store: Store, before_ms: int) -> None:
    """Forget messages that have waited for too long to be of use."""
    store.change("DELETE FROM waiting_messages WHERE put_at_ms < ?", before_ms)


def _session(store: Store, sender_key: str, session_id: str, sealed: bytes) -> Session:
    pickle = store.unseal(f"olm {sender_key} {session_id}", sealed).decode()
    return Session.from_pickle(pickle, PICKLE_KEY)


def _sealed(store: Store, sender_key: str, session: Session) -> bytes:
    return store.seal(f"olm {sender_key} {session.session_id}", session.pickle(PICKLE_KEY).encode())
