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
    BLOCK,
    BUFFER_BYTES,
    MOST_PAST_CACHE,
    PastCache,
    go_past_cache,
    go_through_cache,
)

# For larger pieces Linux (6.18) takes large pages into its cache, and finding those can cost ten times the copying.
_LARGEST_PIECE = 1 << 16
# Less is in the cache before the disk is asked.
_LEAST_PAST_CACHE = 1 << 17


class Writer:
    """Writes one file; its `write` and `finish` run in a thread.

    With `past_cache`, a file that is not small goes past the cache. Once it has become large, the file system refuses
    that, or no buffer is free, the rest goes through it.
    """

    def __init__(self, file: Path, past_cache: PastCache | None) -> None:
        self.file = file
        self.hash = hashlib.sha256()
        self.size = 0
        self._past_cache = past_cache
        self._descriptor: int | None = None
        self._is_past_cache = False
        # What did not fill a block.
        self._rest = b""

    def write(self, parts: Sequence[bytes]) -> None:
        """Write some bytes, the first time into a new file."""
        self._write(parts, last=False)

    def finish(self, parts: Sequence[bytes]) -> None:
        """Write the last bytes. Who keeps the file sees to it that they are safe on the disk."""
        self._write(parts, last=True)
        with writing():
            self._close()
        if self._is_past_cache and self._past_cache is not None:
            self._past_cache.note_written(self.hash.digest())

    async def discard(self) -> None:
        """Delete the file, if it has not become something else."""
        with contextlib.suppress(OSError):
            self._close()
        if self.file.exists():  # quick: it was just used
            await trio.to_thread.run_sync(functools.partial(self.file.unlink, missing_ok=True))

    def _write(self, parts: Sequence[bytes], *, last: bool) -> None:
        with writing():
            if self._descriptor is None:
                self._descriptor = self._opened()
                if self._past_cache is not None and sum(map(len, parts)) >= _LEAST_PAST_CACHE:
                    self._is_past_cache = go_past_cache(self._descriptor)
            if self._is_past_cache and self.size >= MOST_PAST_CACHE:
                self._go_through_cache(self._descriptor)
            if self._is_past_cache and self._past_cache is not None:
                with self._past_cache.buffer() as buffer:
                    if buffer is not None:
                        self._write_by_blocks(self._descriptor, parts, buffer, last=last)
                        return
                self._go_through_cache(self._descriptor)
            rest, self._rest = self._rest, b""
            for part in (rest, *parts):
                self._take_in(part)
                _write_all(self._descriptor, memoryview(part), _LARGEST_PIECE)

    def _write_by_blocks(self, descriptor: int, parts: Sequence[bytes], buffer: memoryview, *, last: bool) -> None:
        """Write what fills blocks; the last time, all."""
        filled = len(self._rest)
        buffer[:filled] = self._rest
        for part in parts:
            left = memoryview(part)
            while left:
                count = min(len(left), BUFFER_BYTES - filled)
                buffer[filled : filled + count] = left[:count]
                filled += count
                left = left[count:]
                if filled == BUFFER_BYTES:
                    self._write_buffer(descriptor, buffer, filled)
                    filled = 0
        ready = filled if last else filled - filled % BLOCK
        self._rest = bytes(buffer[ready:filled])
        self._write_buffer(descriptor, buffer, ready)

    def _write_buffer(self, descriptor: int, buffer: memoryview, count: int) -> None:
        """Write the first bytes of a buffer; the file ends with them if they do not fill their last block."""
        self._take_in(buffer[:count])
        whole = count + -count % BLOCK
        buffer[count:whole] = bytes(whole - count)
        left = buffer[:whole]
        while left:
            try:
                left = left[os.write(descriptor, left) :]
            except OSError as error:
                if error.errno != errno.EINVAL or not self._is_past_cache:
                    raise
                # It may want larger blocks.
                self._go_through_cache(descriptor)
        if whole != count:
            os.ftruncate(descriptor, self.size)

    def _take_in(self, part: bytes | memoryview) -> None:
        self.hash.update(part)
        self.size += len(part)

    def _go_through_cache(self, descriptor: int) -> None:
        self._is_past_cache = False
        go_through_cache(descriptor)

    def _opened(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        try:
            return os.open(self.file, flags, 0o666)
        except FileNotFoundError:
            self.file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            return os.open(self.file, flags, 0o666)

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


def _write_all(descriptor: int, left: memoryview, most: int) -> None:
    while left:
        left = left[os.write(descriptor, left[:most]) :]
