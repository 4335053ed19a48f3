"""Where bytes are kept: whatever the store, they are named by what they are, their SHA-256."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

CHUNK_BYTES = 256 * 1024
"""How much of a blob is in memory at a time."""


@dataclass(frozen=True, slots=True)
class Label:
    """What some bytes are given as, where the store itself gives them: two headers of HTTP."""

    content_type: str
    content_disposition: str


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

    @property
    def keeps_labels(self) -> bool:
        """Whether it remembers what it gives its bytes as."""
        ...

    async def put(self, digest: bytes, file: Path, label: Label | None = None) -> None:
        """Keep the bytes of a file for good; the file may be gone afterwards. To put what is there changes nothing."""
        ...

    async def url_of(self, digest: bytes) -> str | None:
        """Return a URL by which anybody gets a blob for a while; None if this store gives, or shall give, no such."""
        ...

    async def delete(self, digest: bytes) -> None:
        """Forget a blob, whether it is there or not."""
        ...
