"""Requests that must reach the homeserver exactly as they are, even if we are restarted in between.

What they carry was made by ratchets that have moved on, and cannot be made a second time.
"""

from __future__ import annotations

import orjson

from tricord.clients.encryption.requests import Request, as_content, from_content
from tricord.clients.encryption.store import Store
from tricord.protocol.identifiers import RoomId


def put(store: Store, request: Request, *, room_id: RoomId | None = None) -> None:
    """Keep a request until it is answered; with a room, messages to that room wait for it."""
    kind, content = as_content(request)
    store.change(
        "INSERT INTO pending_requests (request_id, kind, content, room_id, attempts) VALUES (?, ?, ?, ?, 0)",
        request.request_id,
        kind,
        orjson.dumps(content).decode(),
        room_id,
    )


def oldest(store: Store, limit: int) -> list[Request]:
    """Return the requests that wait longest."""
    rows = store.rows("SELECT * FROM pending_requests ORDER BY number LIMIT ?", limit)
    return [from_content(row["kind"], row["request_id"], orjson.loads(row["content"])) for row in rows]


def room_waits(store: Store, room_id: RoomId) -> bool:
    """Return whether there is a request that messages to a room wait for."""
    return store.row("SELECT 1 FROM pending_requests WHERE room_id = ?", room_id) is not None


def done(store: Store, request_id: str) -> bool:
    """Forget a request; return whether there was one."""
    return store.change("DELETE FROM pending_requests WHERE request_id = ?", request_id) > 0


def failed(store: Store, request_id: str) -> int:
    """Count a refusal of a request, and return how many there were."""
    row = store.row("SELECT attempts FROM pending_requests WHERE request_id = ?", request_id)
    if row is None:
        return 0
    store.change("UPDATE pending_requests SET attempts = attempts + 1 WHERE request_id = ?", request_id)
    return int(row["attempts"]) + 1
