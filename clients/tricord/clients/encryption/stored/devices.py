"""Devices, identities, and whose devices are followed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from sqlite3 import Row

import orjson

from tricord.clients.encryption.devices import Device, Identity, Trust
from tricord.clients.encryption.store import Store
from tricord.protocol.identifiers import DeviceId, UserId


def device(store: Store, user_id: UserId, device_id: DeviceId) -> Device | None:
    """Return a device, one that is gone too."""
    row = store.row("SELECT * FROM devices WHERE user_id = ? AND device_id = ?", user_id, device_id)
    return None if row is None else _device(row)


def devices_of(store: Store, user_id: UserId) -> dict[DeviceId, Device]:
    """Return the devices of a user that are there, by id."""
    rows = store.rows("SELECT * FROM devices WHERE user_id = ? AND NOT gone", user_id)
    return {DeviceId(row["device_id"]): _device(row) for row in rows}


def devices_by_key(store: Store, curve25519: str) -> list[Device]:
    """Return whose key it is: one device, unless somebody claims another's; what is gone comes last."""
    return [_device(row) for row in store.rows("SELECT * FROM devices WHERE curve25519 = ? ORDER BY gone", curve25519)]


def keep_device(store: Store, kept: Device) -> None:
    """Keep a device as it is now."""
    store.change(
        "INSERT OR REPLACE INTO devices (user_id, device_id, curve25519, ed25519, keys, trust, gone)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        kept.user_id,
        kept.device_id,
        kept.curve25519,
        kept.ed25519,
        orjson.dumps(kept.keys).decode(),
        kept.trust.value,
        kept.gone,
    )


def identity(store: Store, user_id: UserId) -> Identity | None:
    """Return the cross-signing keys of a user, if they have any."""
    row = store.row("SELECT * FROM identities WHERE user_id = ?", user_id)
    if row is None:
        return None
    user_signing = row["user_signing_key"]
    return Identity(
        UserId(row["user_id"]),
        orjson.loads(row["master_key"]),
        orjson.loads(row["self_signing_key"]),
        None if user_signing is None else orjson.loads(user_signing),
        row["pinned"],
        row["verified"],
    )


def keep_identity(store: Store, kept: Identity) -> None:
    """Keep the cross-signing keys of a user, and what we think of them."""
    user_signing = kept.user_signing_key
    store.change(
        "INSERT OR REPLACE INTO identities (user_id, master_key, self_signing_key, user_signing_key, pinned, verified)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        kept.user_id,
        orjson.dumps(kept.master_key).decode(),
        orjson.dumps(kept.self_signing_key).decode(),
        None if user_signing is None else orjson.dumps(user_signing).decode(),
        kept.pinned,
        kept.verified,
    )


def track(store: Store, user_ids: Iterable[UserId]) -> None:
    """Follow the devices of users; of those who are new, none is known yet."""
    for user_id in user_ids:
        store.change("INSERT OR IGNORE INTO tracked_users VALUES (?, 1, 0, 0, 0)", user_id)


def untrack(store: Store, user_ids: Iterable[UserId]) -> None:
    """Follow the devices of users no more."""
    for user_id in user_ids:
        store.change("DELETE FROM tracked_users WHERE user_id = ?", user_id)


def is_tracked(store: Store, user_id: UserId) -> bool:
    """Return whether the devices of a user are followed."""
    return store.row("SELECT 1 FROM tracked_users WHERE user_id = ?", user_id) is not None


def was_queried(store: Store, user_id: UserId) -> bool:
    """Return whether the devices of a user were told at least once."""
    return store.row("SELECT 1 FROM tracked_users WHERE user_id = ? AND queried > 0", user_id) is not None


def mark_changed(store: Store, user_ids: Iterable[UserId]) -> None:
    """Remember that what we know of the devices of users is out of date."""
    for user_id in user_ids:
        store.change("UPDATE tracked_users SET changes = changes + 1, retry_at_ms = 0 WHERE user_id = ?", user_id)


def mark_all_changed(store: Store) -> None:
    """Remember that anybody's devices may have changed."""
    store.change("UPDATE tracked_users SET changes = changes + 1, retry_at_ms = 0")


def outdated(store: Store, now_ms: int) -> dict[UserId, int]:
    """Return whose devices are to be asked for, with the number of the change that the answer will cover."""
    rows = store.rows(
        "SELECT user_id, changes FROM tracked_users WHERE changes > queried AND retry_at_ms <= ? ORDER BY user_id",
        now_ms,
    )
    return {UserId(row["user_id"]): row["changes"] for row in rows}


def mark_queried(store: Store, user_id: UserId, upto: int) -> None:
    """Remember that the devices of a user are known as they were after a change."""
    sql = "UPDATE tracked_users SET queried = max(queried, ?), failures = 0 WHERE user_id = ?"
    store.change(sql, upto, user_id)


def not_told(store: Store) -> set[UserId]:
    """Return whose devices are not known as they are now."""
    return {UserId(row["user_id"]) for row in store.rows("SELECT user_id FROM tracked_users WHERE changes > queried")}


def retry_later(store: Store, user_ids: Sequence[UserId], now_ms: int, pause_ms: int, most_doublings: int) -> None:
    """Ask for the devices of users again after a pause, longer each time."""
    for user_id in user_ids:
        store.change(
            "UPDATE tracked_users SET retry_at_ms = ? + ? * (1 << min(failures, ?)), failures = failures + 1"
            " WHERE user_id = ?",
            now_ms,
            pause_ms,
            most_doublings,
            user_id,
        )


def _device(row: Row) -> Device:
    return Device(
        UserId(row["user_id"]),
        DeviceId(row["device_id"]),
        row["ed25519"],
        row["curve25519"],
        orjson.loads(row["keys"]),
        Trust(row["trust"]),
        bool(row["gone"]),
    )
