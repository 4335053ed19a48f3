"""Keys of our sessions that devices should have had when a message was sent, and have not got yet."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from sqlite3 import Row

from tricord.clients.encryption.devices import Device
from tricord.clients.encryption.store import Store
from tricord.clients.encryption.stored import rooms
from tricord.clients.encryption.stored.rooms import SessionPart
from tricord.protocol.identifiers import DeviceId, RoomId, UserId


@dataclass(frozen=True, slots=True)
class Owed:
    """A key that is owed to a device; or to all devices of a user, where these are empty."""

    room_id: RoomId
    session_id: str
    user_id: UserId
    device_id: DeviceId
    curve25519: str
    message_index: int
    owed_since_ms: int


def owe(store: Store, part: SessionPart, user_ids: Iterable[UserId], devices: Iterable[Device], now_ms: int) -> None:
    """Note to whom the key of a session is owed; who was owed it before stays so, from where it was."""
    names = [(user_id, "", "") for user_id in user_ids]
    names += [(device.user_id, device.device_id, device.curve25519) for device in devices]
    if not names:
        return
    store.change(
        "INSERT OR IGNORE INTO owed_session_keys (room_id, session_id, message_index, shared_history, sealed)"
        " VALUES (?, ?, ?, ?, ?)",
        part.room_id,
        part.session_id,
        part.message_index,
        part.shared_history,
        store.seal(_place(part.session_id, part.message_index), part.session_key.encode()),
    )
    for user_id, device_id, curve25519 in names:
        _keep(
            store,
            Owed(part.room_id, part.session_id, user_id, DeviceId(device_id), curve25519, part.message_index, now_ms),
        )
    _forget_unneeded(store, part.room_id)


def owe_devices(store: Store, owed: Owed, devices: Iterable[Device]) -> None:
    """Let what is owed to a user be owed to devices of theirs."""
    for device in devices:
        _keep(store, replace(owed, device_id=device.device_id, curve25519=device.curve25519))


def is_anything_owed(store: Store) -> bool:
    """Return whether any key is owed."""
    return store.row("SELECT 1 FROM owed_keys LIMIT 1") is not None


def owed_to_known_users(store: Store, limit: int) -> list[Owed]:
    """Return what is owed to users whose devices are known by now."""
    rows = store.rows(
        "SELECT owed_keys.* FROM owed_keys JOIN tracked_users USING (user_id)"
        " WHERE device_id = '' AND changes <= queried ORDER BY owed_since_ms LIMIT ?",
        limit,
    )
    return [_owed(row) for row in rows]


def owed_to_devices(store: Store, now_ms: int, limit: int) -> list[Owed]:
    """Return what is owed to devices with which there is an Olm session, or may be one if we try."""
    rows = store.rows(
        "SELECT owed_keys.* FROM owed_keys LEFT JOIN olm_troubles ON sender_key = curve25519"
        " WHERE device_id != '' AND (coalesce(claim_after_ms, 0) <= ?"
        " OR EXISTS (SELECT 1 FROM olm_sessions WHERE olm_sessions.sender_key = curve25519))"
        " ORDER BY owed_since_ms LIMIT ?",
        now_ms,
        limit,
    )
    return [_owed(row) for row in rows]


def part(store: Store, owed: Owed) -> SessionPart:
    """Return the part of a session that is owed, with its key."""
    row = store.row(
        "SELECT * FROM owed_session_keys WHERE room_id = ? AND session_id = ? AND message_index = ?",
        owed.room_id,
        owed.session_id,
        owed.message_index,
    )
    assert row is not None  # noqa: S101  # it is kept as long as it is owed
    key = store.unseal(_place(owed.session_id, owed.message_index), row["sealed"]).decode()
    return SessionPart(owed.room_id, owed.session_id, owed.message_index, key, bool(row["shared_history"]))


def settled(store: Store, settled: Iterable[Owed]) -> None:
    """Forget what is not owed any more."""
    room_ids = set()
    for owed in settled:
        store.change(
            "DELETE FROM owed_keys"
            " WHERE room_id = ? AND session_id = ? AND user_id = ? AND device_id = ? AND curve25519 = ?",
            owed.room_id,
            owed.session_id,
            owed.user_id,
            owed.device_id,
            owed.curve25519,
        )
        room_ids.add(owed.room_id)
    for room_id in room_ids:
        _forget_unneeded(store, room_id)


def forget_old(store: Store, before_ms: int) -> None:
    """Forget what was owed for too long."""
    rows = store.rows("SELECT DISTINCT room_id FROM owed_keys WHERE owed_since_ms < ?", before_ms)
    store.change("DELETE FROM owed_keys WHERE owed_since_ms < ?", before_ms)
    for row in rows:
        _forget_unneeded(store, RoomId(row["room_id"]))


def forget_member(store: Store, room_id: RoomId, user_id: UserId) -> None:
    """Owe nothing for a room to somebody any more."""
    if store.change("DELETE FROM owed_keys WHERE room_id = ? AND user_id = ?", room_id, user_id):
        _forget_unneeded(store, room_id)


def forget_room(store: Store, room_id: RoomId) -> None:
    """Owe nobody anything for a room any more."""
    if store.change("DELETE FROM owed_keys WHERE room_id = ?", room_id):
        _forget_unneeded(store, room_id)


def _keep(store: Store, owed: Owed) -> None:
    store.change(
        "INSERT OR IGNORE INTO owed_keys (room_id, session_id, user_id, device_id, curve25519, message_index,"
        " owed_since_ms) VALUES (?, ?, ?, ?, ?, ?, ?)",
        owed.room_id,
        owed.session_id,
        owed.user_id,
        owed.device_id,
        owed.curve25519,
        owed.message_index,
        owed.owed_since_ms,
    )


def _forget_unneeded(store: Store, room_id: RoomId) -> None:
    """Forget keys that are owed to nobody, and who has those of sessions that have ended."""
    store.change(
        "DELETE FROM owed_session_keys WHERE room_id = ? AND (session_id, message_index) NOT IN"
        " (SELECT session_id, message_index FROM owed_keys WHERE room_id = ?)",
        room_id,
        room_id,
    )
    rooms.forget_ended_shares(store, room_id)


def _place(session_id: str, message_index: int) -> str:
    return f"owed key {session_id} {message_index}"


def _owed(row: Row) -> Owed:
    return Owed(
        RoomId(row["room_id"]),
        row["session_id"],
        UserId(row["user_id"]),
        DeviceId(row["device_id"]),
        row["curve25519"],
        row["message_index"],
        row["owed_since_ms"],
    )
