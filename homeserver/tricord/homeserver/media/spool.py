"""Bytes on their way in: written to a file of their own, hashed and counted as they come."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import trio

from tricord.homeserver.media.blobs import StoreUnavailable

# One write, and one hash, for so much: smaller parts would cost a thread's turn each.
_WRITTEN_AT_ONCE = 1 << 20
# For larger pieces Linux (6.18) takes large pages into its cache, and finding those can cost ten times the copying.
_LARGEST_PIECE = 1 << 16
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
            pending: list[bytes] = []
            size = held = 0
            written_at = trio.current_time()
            async for part in parts:
                if grown is not None and held and trio.current_time() - written_at > _LONGEST_HELD_SECONDS:
                    held = await _written(writer, pending)
                    grown(writer.file, writer.size)
                    written_at = trio.current_time()
                pending.append(part)
                held += len(part)
                size += len(part)
                if size > max_bytes:
                    raise TooManyBytes
                if held > _WRITTEN_AT_ONCE:
                    held = await _written(writer, pending)
                    if grown is not None:
                        grown(writer.file, writer.size)
                        written_at = trio.current_time()
            await trio.to_thread.run_sync(writer.finish, pending)
            yield Spooled(writer.file, writer.hash.digest(), writer.size)
        finally:
            with trio.CancelScope(shield=True):
                await writer.discard()

    def new_file(self) -> Path:
        """Return the name of a file that is not there."""
        return self.folder / secrets.token_hex(16)

    def _sweep(self) -> None:
        before = time.time() - _ABANDONED_SECONDS
        for file in self.folder.iterdir() if self.folder.exists() else ():
            with contextlib.suppress(FileNotFoundError):
                if file.is_file() and file.stat().st_mtime < before:
                    file.unlink()


async def _written(writer: _Writer, pending: list[bytes]) -> int:
    """Write what has come, and return how much is left."""
    await trio.to_thread.run_sync(writer.write, pending[:])
    pending.clear()
    return 0


class _Writer:
    """Writes one file; its `write` and `finish` run in a thread."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.hash = hashlib.sha256()
        self.size = 0
        self._handle: BinaryIO | None = None

    def write(self, parts: Sequence[bytes]) -> None:
        """Write some bytes, the first time into a new file."""
        with writing():
            if self._handle is None:
                self._handle = self._opened()
            for part in parts:
                view = memoryview(part)
                while view:
                    view = view[self._handle.write(view[:_LARGEST_PIECE]) :]
        for part in parts:
            self.hash.update(part)
            self.size += len(part)

    def finish(self, parts: Sequence[bytes]) -> None:
        """Write the last bytes. Who keeps the file sees to it that they are safe on the disk."""
        self.write(parts)
        assert self._handle is not None  # noqa: S101  # written just now
        with writing():
            self._handle.close()

    def _opened(self) -> BinaryIO:
        try:
            return self.file.open("xb", buffering=0)
        except FileNotFoundError:
            self.file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            return self.file.open("xb", buffering=0)

    async def discard(self) -> None:
        """Delete the file, if it has not become something else."""
        if self._handle is not None:
            with contextlib.suppress(OSError):
                self._handle.close()
        if self.file.exists():  # quick: it was just used
            await trio.to_thread.run_sync(functools.partial(self.file.unlink, missing_ok=True))


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
