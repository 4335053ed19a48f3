"""What is loaded when it is first needed, so that a server starts quickly and holds nothing that it does not use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import trio

T = TypeVar("T")


class Late(Generic[T]):
    """Something that is imported or built when it is first asked for: in a thread, since others go on meanwhile."""

    def __init__(self, load: Callable[[], T]) -> None:
        self._load = load
        self._loaded: list[T] = []
        self._loading = trio.Lock()

    async def get(self) -> T:
        """Return it, once it is there."""
        if not self._loaded:
            async with self._loading:
                if not self._loaded:
                    self._loaded.append(await trio.to_thread.run_sync(self._load))
        return self._loaded[0]

    @property
    def if_loaded(self) -> T | None:
        """It, or None if nobody has asked for it yet."""
        return self._loaded[0] if self._loaded else None
