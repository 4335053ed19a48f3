"""Where bytes are kept: whatever the store, they are named by what they are, their SHA-256."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

_NAME = re.compile(r"[0-9a-f]{64}")

CHUNK_BYTES = 120 * 1024
"""How much of a blob is in memory at a time: blocks from 128 KiB on may be memory that the system gives anew each time,
and that costs more than all else that is done with them."""

PAGE = 1000
"""How many names of blobs are looked at together."""


@dataclass(frozen=True, slots=True)
class Label:
    """What some bytes are given as, where the store itself gives them: two headers of HTTP."""

    content_type: str
    content_disposition: str


@dataclass(frozen=True, slots=True)
class Held:
    """Bytes that a buffer begins with. It is as those of `past_cache.py` are, and may be written behind them."""

    digest: bytes
    size: int
    buffer: memoryview

    @property
    def data(self) -> memoryview:
        """The bytes."""
        return self.buffer[: self.size]


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

    async def prepare(self) -> None:
        """Do now what the first blob would have to wait for."""
        ...

    async def put(self, digest: bytes, file: Path, label: Label | None = None) -> None:
        """Keep the bytes of a file for good; the file may be gone afterwards. To put what is there changes nothing."""
        ...

    async def put_held(self, held: Held) -> bool:
        """Keep bytes from memory for good, as `put`; False if they can only be put as a file."""
        ...

    async def has(self, digest: bytes) -> bool:
        """Return whether bytes are there."""
        ...

    async def url_of(self, digest: bytes) -> str | None:
        """Return a URL by which anybody gets a blob for a while; None if this store gives, or shall give, no such."""
        ...

    async def delete(self, digest: bytes) -> None:
        """Forget a blob, whether it is there or not."""
        ...

    def digests(self, after: bytes = b"") -> AsyncIterator[Sequence[bytes]]:
        """Return the names of all blobs after one, in order and in pages. What has other names is not ours."""
        ...


def digest_named(name: str) -> bytes | None:
    """Return the digest that is written like this, in the one way in which stores write them; None if none is."""
    return bytes.fromhex(name) if _NAME.fullmatch(name) else None
