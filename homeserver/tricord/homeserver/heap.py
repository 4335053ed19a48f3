"""Every minute: let go of what nobody has asked for lately, and give back to the system what has become free.

Only glibc can be told to; other C libraries do as they like. It has a heap for each of several threads, and gives back
only what is free at the end of one: after a busy hour, a server would stay half as large again as it has to be. And it
learns to keep large blocks among the small ones, where what is left of a long answer keeps the next one from fitting.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable
from typing import Any

import trio

# From malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_LARGE = 256 << 10
_SLACK = 8 << 20
_PAUSE_SECONDS = 60


def keep_one_heap() -> None:
    """Let all threads use one heap, and large blocks none; call it before there are threads.

    They rarely want memory at the same time.
    """
    if (library := _glibc()) is not None:
        library.mallopt(_M_ARENA_MAX, 1)
        library.mallopt(_M_MMAP_THRESHOLD, _LARGE)
        # Without it, what is free at the end would go back, and be asked for again, with every answer.
        library.mallopt(_M_TRIM_THRESHOLD, _SLACK)


async def give_back_memory(let_go: Iterable[Callable[[], None]] = ()) -> None:
    """Let go, and give back to the system what is free, every minute, for ever."""
    library = _glibc()
    while True:
        await trio.sleep(_PAUSE_SECONDS)
        for forget in let_go:
            forget()
        if library is not None:
            await trio.to_thread.run_sync(library.malloc_trim, 0)


def _glibc() -> Any:
    """Return the C library; None where it is another."""
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") else None
