"""What `bench.load` measures, by name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from bench import encryption, large_rooms, reading, sending, syncing
from bench.scenario import Bench

ALL: dict[str, Callable[[Bench], Awaitable[None]]] = {
    "sends": sending.sends,
    "latency": sending.latency,
    "create": large_rooms.create_rooms,
    "sync": syncing.sync,
    "idle_sync": syncing.idle_sync,
    "initial_sync": syncing.initial_sync,
    "windows": syncing.windows,
    "many_windows": syncing.many_windows,
    "messages": large_rooms.messages,
    "reads": reading.reads,
    "members": large_rooms.members,
    "websocket": syncing.websocket,
    "keys": encryption.keys,
    "to_device": encryption.to_device,
}
