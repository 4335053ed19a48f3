"""How much memory a test's process holds on to."""

from __future__ import annotations

import ctypes
import gc
from pathlib import Path

_STATM = Path("/proc/self/statm")
_PAGE_KIB = 4


def memory_kib() -> int:
    """Return the resident memory of this process, less what waits to be collected; 0 where that is unknown.

    Many tests share a process: what one leaves for the collector, or to the allocator, is not another's.
    """
    if not _STATM.exists():
        return 0
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    return int(_STATM.read_text().split()[1]) * _PAGE_KIB
