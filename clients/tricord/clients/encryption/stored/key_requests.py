"""Keys that we have asked our other devices for."""

from __future__ import annotations

from dataclasses import dataclass
from sqlite3 import Row

import orjson

from tricord.clients.encryption.store import Store
from tricord.protocol.identifiers import DeviceId, RoomId


@dataclass(frozen=True, slots=True)
class KeyRequest:
    """A key that we lack, and the devices that were asked for it."""

    room_id: RoomId
    session_id: str
    request_id: str
    asked: tuple[DeviceId, ...]


def request_for(store: Store, room_id: RoomId, session_id: str) -> KeyRequest | None:
    """Return the request for a key, if it was asked for."""
    row = store.row("SELECT * FROM key_requests WHERE room_id = ? AND session_id = ?", room_id, session_id)
    return None if row is None else _request(row)


def keep(store: Store, request: KeyRequest, now_ms: int) -> None:
    """Keep a request."""
    store.change(
        "INSERT OR REPLACE INTO key_requests (room_id, session_id, request_id, asked, asked_at_ms)"
        " VALUES (?, ?, ?, ?, ?)",
        request.room_id,
        request.session_id,
        request.request_id,
        orjson.dumps(request.asked).decode(),
        now_ms,
    )


def forget(store: Store, request: KeyRequest) -> None:
    """Forget a request that was answered."""
    store.change("DELETE FROM key_requests WHERE request_id = ?", request.request_id)


def _request(row: Row) -> KeyRequest:
    asked = tuple(DeviceId(device_id) for device_id in orjson.loads(row["asked"]))
    return KeyRequest(RoomId(row["room_id"]), row["session_id"], row["request_id"], asked)
