"""Where bytes are kept: whatever the store, they are named by what they are, their SHA-256."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

CHUNK_BYTES = 256 * 1024
"""How much of a blob is in memory at a time."""


class StoreUnavailable(Exception):
    """The store cannot be used now: it does not answer, is full, or refuses us."""


class BlobMissing(Exception):
    """The store has no such blob."""


class BlobReader(Protocol):
    """Reads what is kept."""

    def read(self, digest: bytes, start: int, end: int) -> AsyncIterator[bytes]:
        """Return the bytes from `start` up to before `end`, in chunks. Raises BlobMissing before the first."""
        ...


class BlobStore(BlobReader, Protocol):
    """Keeps blobs. Every method raises StoreUnavailable, and names in its message no more than operators may log."""

    async def put(self, digest: bytes, file: Path) -> None:
        """Keep the bytes of a file for good; the file may be gone afterwards. To put what is there changes nothing."""
        ...

    async def delete(self, digest: bytes) -> None:
        """Forget a blob, whether it is there or not."""
        ...
