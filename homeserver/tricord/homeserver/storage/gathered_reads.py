"""What is asked for while a read is under way goes into the next one: one query for all who ask at the same time.

Who asks alone waits for nobody. When hundreds do the same at once (a server has started again and every client is back,
or a crowd joins a room), it is a few queries instead of hundreds. Nobody waits for who asks for much.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Generic, TypeVar

import trio

from tricord.homeserver.storage.errors import DatabaseUnavailable

# Who asks for more than this at once asks alone.
_MUCH = 8

Key = TypeVar("Key")
Value = TypeVar("Value")


class _Group(Generic[Key, Value]):
    __slots__ = ("error", "found", "keys", "over")

    def __init__(self) -> None:
        self.keys: dict[Key, None] = {}
        self.over = trio.Event()
        self.found: Mapping[Key, Value] = {}
        self.error: Exception | None = None


class GatheredReads(Generic[Key, Value]):
    """Reads what belongs to keys, for all who ask meanwhile together, without a task of its own.

    `read` gets some keys and returns what there is of them. It begins after everybody has asked, so that what they get
    is never older than their question. If the database is away, it is for all who asked together; if there is something
    wrong with a key, or with what belongs to it, only for who asked for that.
    """

    def __init__(self, read: Callable[[Sequence[Key]], Awaitable[Mapping[Key, Value]]]) -> None:
        self._read = read
        self._turn = trio.Lock()
        self._next: _Group[Key, Value] | None = None

    async def get(self, keys: Sequence[Key]) -> Mapping[Key, Value]:
        """Return what there is of some keys, and maybe of others."""
        if len(keys) > _MUCH:
            return await self._read(keys)
        group = self._next
        if group is None:
            group = self._next = _Group()
            group.keys.update(dict.fromkeys(keys))
            # Others count on it: the caller's being gone must not take them along.
            with trio.CancelScope(shield=True):
                await self._read_group(group)
        else:
            group.keys.update(dict.fromkeys(keys))
            await group.over.wait()
        if group.error is None:
            return group.found
        if isinstance(group.error, DatabaseUnavailable) or group.keys.keys() <= set(keys):
            raise group.error
        # What others asked for must not fail for this one.
        return await self._read(keys)

    async def _read_group(self, group: _Group[Key, Value]) -> None:
        async with self._turn:
            self._next = None
            try:
                group.found = await self._read(list(group.keys))
            except Exception as error:  # noqa: BLE001 - it is the callers', and looked at there
                group.error = error
            group.over.set()
