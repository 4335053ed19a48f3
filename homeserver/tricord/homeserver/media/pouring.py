"""Bytes that come, and are put straight into a buffer of who wants them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol, runtime_checkable


@runtime_checkable
class Pours(Protocol):
    """Bytes that come."""

    async def more(self) -> bool:
        """Whether some are left; where nobody knows, they are waited for."""
        ...

    async def into(self, buffer: memoryview) -> int:
        """Put what comes next, if some are left, into a buffer that is not empty; return how much that is."""
        ...


class Parts:
    """Pours what comes in parts."""

    def __init__(self, parts: AsyncIterator[bytes]) -> None:
        self._parts = parts
        # What is left of the last one that has come.
        self._rest = memoryview(b"")

    async def more(self) -> bool:
        """Whether there is another part, or something left of the last one."""
        while not self._rest:
            try:
                self._rest = memoryview(await anext(self._parts))
            except StopAsyncIteration:
                return False
        return True

    async def into(self, buffer: memoryview) -> int:
        """Copy as much of a part as the buffer takes."""
        count = min(len(self._rest), len(buffer))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


def poured(parts: AsyncIterator[bytes]) -> Pours:
    """Return the same bytes: as they are, if they can be put into a buffer; else they are copied there."""
    return parts if isinstance(parts, Pours) else Parts(parts)
