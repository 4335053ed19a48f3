"""Bytes on their way in: written to a file of their own, or held in a buffer, hashed and counted as they come."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import trio

from tricord.homeserver.media.blobs import Held
from tricord.homeserver.media.past_cache import BUFFER_BYTES, PastCache
from tricord.homeserver.media.pouring import Pours, poured
from tricord.homeserver.media.writer import Writer

# One write, and one hash, for so much: smaller parts would cost a thread's turn each.
_WRITTEN_AT_ONCE = BUFFER_BYTES
# What is hashed where all else happens, while more comes: a thread's turn costs about as much (a quarter of a
# millisecond), and would only begin at the end.
_HASHED_AT_ONCE = 1 << 19
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

    With `past_cache`, uploads go past the system's cache.
    """

    def __init__(self, folder: Path, past_cache: PastCache | None = None) -> None:
        self.folder = folder
        self._past_cache = past_cache

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
        async with self._file() as writer:
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

    @contextlib.asynccontextmanager
    async def receive_upload(self, parts: AsyncIterator[bytes], max_bytes: int) -> AsyncIterator[Spooled | Held]:
        """As `receive`, where nobody reads along. What fits into one buffer is held there, if one is free."""
        with contextlib.nullcontext() if self._past_cache is None else self._past_cache.buffer() as buffer:
            if buffer is None:
                async with self.receive(parts, max_bytes) as spooled:
                    yield spooled
                return
            source = poured(parts)
            known = hashlib.sha256()
            filled = await _filled(buffer, source, max_bytes, known.update)
            if not await source.more():
                yield Held(known.digest(), filled, buffer)
                return
            async with self._file(self._past_cache) as writer:
                writer.hash = known
                hashed = filled
                while await source.more():
                    await trio.to_thread.run_sync(writer.write_buffer, buffer, filled, hashed)
                    hashed = 0
                    filled = await _filled(buffer, source, max_bytes - writer.size)
                await trio.to_thread.run_sync(writer.finish_buffer, buffer, filled)
                yield Spooled(writer.file, writer.hash.digest(), writer.size)

    @contextlib.asynccontextmanager
    async def written(self, held: Held) -> AsyncIterator[Path]:
        """Write what is held to a file, which is gone after the block. Raises StoreUnavailable."""
        async with self._file(self._past_cache) as writer:
            await trio.to_thread.run_sync(writer.finish_buffer, held.buffer, held.size, held.size)
            yield writer.file

    def new_file(self) -> Path:
        """Return the name of a file that is not there."""
        return self.folder / secrets.token_hex(16)

    @contextlib.asynccontextmanager
    async def _file(self, past_cache: PastCache | None = None) -> AsyncIterator[Writer]:
        writer = Writer(self.new_file(), past_cache)
        try:
            yield writer
        finally:
            with trio.CancelScope(shield=True):
                await writer.discard()

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


async def _filled(
    buffer: memoryview, source: Pours, most: int, take_in: Callable[[memoryview], None] | None = None
) -> int:
    """Fill a buffer as far as there is something left; return how far. Raises TooManyBytes beyond `most`."""
    filled = 0
    at_once = len(buffer) if take_in is None else _HASHED_AT_ONCE
    while filled < len(buffer) and await source.more():
        count = await source.into(buffer[filled : filled + at_once])
        if filled + count > most:
            raise TooManyBytes
        if take_in is not None:
            take_in(buffer[filled : filled + count])
        filled += count
    return filled
