"""One after the other, where it is about the same thing."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import trio

K = TypeVar("K", bound=Hashable)


@dataclass(slots=True)
class _Lock:
    lock: trio.Lock = field(default_factory=trio.Lock)
    users: int = 0


class Turns(Generic[K]):
    """A lock for each thing that somebody is at, or waits for; in the order in which they came."""

    def __init__(self) -> None:
        self._locks: dict[K, _Lock] = {}

    @contextlib.asynccontextmanager
    async def of(self, key: K) -> AsyncIterator[None]:
        """Be the only one at a thing while inside the block."""
        entry = self._locks.setdefault(key, _Lock())
        entry.users += 1
        try:
            async with entry.lock:
                yield
        finally:
            entry.users -= 1
            if not entry.users:
                del self._locks[key]
