"""Bytes on their way in: written to a file of their own, hashed and counted as they come."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import trio

from tricord.homeserver.media.blobs import StoreUnavailable

# One write, and one hash, for so much: smaller parts would cost a thread's turn each.
_WRITTEN_AT_ONCE = 1 << 20
# Where somebody reads along, what has come is written after so long.
_LONGEST_HELD_SECONDS = 0.25
_ABANDONED_SECONDS = 24 * 3600


class TooManyBytes(Exception):
    """More came than may come."""


@dataclass(frozen=True, slots=True)
class Spooled:
    """Bytes that have come to their end."""

    file: Path
    digest: bytes
    size: int


class Spool:
    """A folder of files that are being written, on the file system that the blobs go to if that is a local one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def sweep(self) -> None:
        """Delete what processes that were killed have left."""
        await trio.to_thread.run_sync(self._sweep)

    @contextlib.asynccontextmanager
    async def receive(
        self, parts: AsyncIterator[bytes], max_bytes: int, grown: Callable[[Path, int], None] | None = None
    ) -> AsyncIterator[Spooled]:
        """Take in some bytes, and give them while inside the block: the file is gone after it.

        `grown` is told how much of the file has been written; of its last part, nothing. Raises TooManyBytes as soon as
        more than `max_bytes` have come, and StoreUnavailable if they cannot be written.
        """
        writer = _Writer(self.new_file())
        try:
            await trio.to_thread.run_sync(writer.open)
            pending = bytearray()
            written_at = trio.current_time()
            async for part in parts:
                if grown is not None and pending and trio.current_time() - written_at > _LONGEST_HELD_SECONDS:
                    await trio.to_thread.run_sync(writer.write, bytes(pending))
                    pending.clear()
                    grown(writer.file, writer.size)
                    written_at = trio.current_time()
                pending += part
                if writer.size + len(pending) > max_bytes:
                    raise TooManyBytes
                if len(pending) >= _WRITTEN_AT_ONCE:
                    await trio.to_thread.run_sync(writer.write, bytes(pending))
                    pending.clear()
                    if grown is not None:
                        grown(writer.file, writer.size)
                        written_at = trio.current_time()
            await trio.to_thread.run_sync(writer.finish, bytes(pending))
            yield Spooled(writer.file, writer.hash.digest(), writer.size)
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(writer.discard)

    def new_file(self) -> Path:
        """Return the name of a file that is not there."""
        return self.folder / secrets.token_hex(16)

    def _sweep(self) -> None:
        before = time.time() - _ABANDONED_SECONDS
        for file in self.folder.iterdir() if self.folder.exists() else ():
            with contextlib.suppress(FileNotFoundError):
                if file.is_file() and file.stat().st_mtime < before:
                    file.unlink()


class _Writer:
    """Writes one file; every method runs in a thread."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.hash = hashlib.sha256()
        self.size = 0
        self._handle: BinaryIO | None = None

    def open(self) -> None:
        with writing():
            self.file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._handle = self.file.open("xb", buffering=0)

    def write(self, data: bytes) -> None:
        assert self._handle is not None  # noqa: S101  # opened first
        with writing():
            view = memoryview(data)
            while view:
                view = view[self._handle.write(view) :]
        self.hash.update(data)
        self.size += len(data)

    def finish(self, data: bytes) -> None:
        """Write the last bytes, and see all of them to the disk."""
        self.write(data)
        assert self._handle is not None  # noqa: S101  # opened first
        with writing():
            os.fsync(self._handle.fileno())
            self._handle.close()

    def discard(self) -> None:
        if self._handle is not None:
            with contextlib.suppress(OSError):
                self._handle.close()
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            self.file.unlink()


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
