"""Bytes on their way in: written to a file of their own, hashed and counted as they come."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import trio

from tricord.homeserver.media.past_cache import BUFFER_BYTES, PastCache
from tricord.homeserver.media.writer import Writer

# One write, and one hash, for so much: smaller parts would cost a thread's turn each.
_WRITTEN_AT_ONCE = BUFFER_BYTES
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
    """A folder of files that are being written, on the file system that the blobs go to if that is a local one.

    With `past_cache`, files can be written past the system's cache.
    """

    def __init__(self, folder: Path, past_cache: PastCache | None = None) -> None:
        self.folder = folder
        self._past_cache = past_cache

    async def sweep(self) -> None:
        """Delete what processes that were killed have left."""
        await trio.to_thread.run_sync(self._sweep)

    @contextlib.asynccontextmanager
    async def receive(
        self,
        parts: AsyncIterator[bytes],
        max_bytes: int,
        grown: Callable[[Path, int], None] | None = None,
        *,
        read_at_once: bool = True,
    ) -> AsyncIterator[Spooled]:
        """Take in some bytes, and give them while inside the block: the file is gone after it.

        `grown` is told how much of the file has been written; of its last part, nothing. What somebody waits for
        already, to read it at once, is in the system's cache then. Raises TooManyBytes as soon as more than `max_bytes`
        have come, and StoreUnavailable if they cannot be written.
        """
        writer = Writer(self.new_file(), None if read_at_once else self._past_cache)
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


async def _written(writer: Writer, pending: list[bytes]) -> int:
    """Write what has come, and return how much is left."""
    await trio.to_thread.run_sync(writer.write, pending[:])
    pending.clear()
    return 0
