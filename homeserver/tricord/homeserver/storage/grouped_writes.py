"""What waits while a write is under way goes into the next one: one transaction, one fsync, for all of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import trio

from tricord.homeserver.storage.errors import DatabaseUnavailable

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Waiting(Generic[Item, Result]):
    __slots__ = ("error", "item", "result", "written")

    def __init__(self, item: Item) -> None:
        self.item = item
        self.written = False
        self.result: Result | None = None
        self.error: Exception | None = None


class GroupedWrites(Generic[Item, Result]):
    """Writes items in groups, without a task of its own: whoever gets the lock first writes for all who wait.

    `write` gets some items and returns their results in the same order, or fails for all of them.
    """

    def __init__(self, write: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]], *, limit: int = 200) -> None:
        self._write = write
        self._limit = limit
        self._waiting: list[_Waiting[Item, Result]] = []
        self._lock = trio.Lock()

    async def submit(self, item: Item) -> Result:
        """Write an item, together with those that arrive meanwhile, and return its result."""
        mine: _Waiting[Item, Result] = _Waiting(item)
        self._waiting.append(mine)
        try:
            async with self._lock:
                if not mine.written:
                    group = self._waiting[: self._limit]
                    del self._waiting[: self._limit]
                    # Others' items are in it: the caller's being gone must not take them along.
                    with trio.CancelScope(shield=True):
                        await self._write_group(group)
        finally:
            if not mine.written and mine in self._waiting:
                self._waiting.remove(mine)
        if mine.error is not None:
            raise mine.error
        return mine.result  # type: ignore[return-value]  # written, without an error: it is a Result

    async def _write_group(self, group: list[_Waiting[Item, Result]]) -> None:
        try:
            results = await self._write([waiting.item for waiting in group])
        except Exception as error:  # noqa: BLE001 - it is the waiting callers', and raised there
            if len(group) > 1 and not isinstance(error, DatabaseUnavailable):
                # One bad item must not fail the others: each by itself.
                for waiting in group:
                    await self._write_group([waiting])
                return
            for waiting in group:
                waiting.error = error
                waiting.written = True
            return
        for waiting, result in zip(group, results, strict=True):
            waiting.result = result
            waiting.written = True
