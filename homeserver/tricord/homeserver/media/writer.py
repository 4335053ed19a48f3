"""Writing one file, and hashing it on the way: past the system's cache or through it."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import trio

from tricord.homeserver.media.blobs import StoreUnavailable
from tricord.homeserver.media.past_cache import (
    LEAST_PAST_CACHE,
    MOST_PAST_CACHE,
    PastCache,
    go_past_cache,
    go_through_cache,
    write_blocks,
)

# For larger pieces Linux (6.18) takes large pages into its cache, and finding those can cost ten times the copying.
_LARGEST_PIECE = 1 << 16


class Writer:
    """Writes one file, in parts or from a buffer; its `write…` and `finish…` run in a thread.

    With `past_cache`, what comes from its buffers goes past the cache, unless it is small. Once the file has become
    large, or the file system refuses that, the rest goes through it.
    """

    def __init__(self, file: Path, past_cache: PastCache | None = None) -> None:
        self.file = file
        self.hash = hashlib.sha256()
        self.size = 0
        self._past_cache = past_cache
        self._descriptor: int | None = None
        self._is_past_cache = False

    def write(self, parts: Sequence[bytes]) -> None:
        """Write some bytes, the first time into a new file."""
        with writing():
            descriptor = self._opened()
            for part in parts:
                self.hash.update(part)
                self.size += len(part)
                write_all(descriptor, memoryview(part))

    def finish(self, parts: Sequence[bytes]) -> None:
        """Write the last bytes. Who keeps the file sees to it that they are safe on the disk."""
        self.write(parts)
        self._finish()

    def write_buffer(self, buffer: memoryview, count: int, hashed: int = 0) -> None:
        """Write what a buffer begins with: whole blocks, if more is to come. Of that, so much has been hashed."""
        with writing():
            descriptor = self._opened()
            self._choose_way(descriptor, count)
            self.hash.update(buffer[hashed:count])
            self.size += count
            written = 0
            if self._is_past_cache:
                written = write_blocks(descriptor, buffer, count, self.size)
                if written < count:
                    self._go_through_cache(descriptor)
            write_all(descriptor, buffer[written:count])

    def finish_buffer(self, buffer: memoryview, count: int, hashed: int = 0) -> None:
        """Write the last bytes, as `finish`."""
        self.write_buffer(buffer, count, hashed)
        self._finish()

    async def discard(self) -> None:
        """Delete the file, if it has not become something else."""
        with contextlib.suppress(OSError):
            self._close()
        if self.file.exists():  # quick: it was just used
            await trio.to_thread.run_sync(functools.partial(self.file.unlink, missing_ok=True))

    def _choose_way(self, descriptor: int, count: int) -> None:
        if self._past_cache is None:
            return
        if not self.size:
            self._is_past_cache = count >= LEAST_PAST_CACHE and go_past_cache(descriptor)
        elif self._is_past_cache and self.size >= MOST_PAST_CACHE:
            self._go_through_cache(descriptor)

    def _go_through_cache(self, descriptor: int) -> None:
        self._is_past_cache = False
        go_through_cache(descriptor)

    def _opened(self) -> int:
        if self._descriptor is None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            try:
                self._descriptor = os.open(self.file, flags, 0o666)
            except FileNotFoundError:
                self.file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                self._descriptor = os.open(self.file, flags, 0o666)
        return self._descriptor

    def _finish(self) -> None:
        with writing():
            self._close()
        if self._is_past_cache and self._past_cache is not None:
            self._past_cache.note_written(self.hash.digest())

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


@contextlib.contextmanager
def writing() -> Iterator[None]:
    """Raise StoreUnavailable for what the file system refuses."""
    try:
        yield
    except OSError as error:
        words = (
            "there is no space left" if error.errno in (errno.ENOSPC, errno.EDQUOT) else os.strerror(error.errno or 0)
        )
        raise StoreUnavailable(f"the folder of media cannot be written: {words}") from error


def write_all(descriptor: int, left: memoryview) -> None:
    """Write through the cache."""
    while left:
        left = left[os.write(descriptor, left[:_LARGEST_PIECE]) :]
