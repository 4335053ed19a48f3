"""A file of another server on its way here, and those who read it as it comes."""

from __future__ import annotations

import contextlib
import math
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import BinaryIO

import trio

from tricord.homeserver.media.blobs import CHUNK_BYTES, BlobReader
from tricord.homeserver.media.repository import Description
from tricord.homeserver.storage.media import StoredMedia
from tricord.protocol.media import Mxc

# Who jumps in a video hangs up and asks again: a file that nobody reads goes on coming for so long.
_UNWANTED_SECONDS = 30.0


class CutShort(Exception):
    """The rest of a file does not come."""


class Incoming:
    """One transfer, whoever wants the file.

    Its last part is given only when the file is here whole, kept, and one that may be seen: what fails before is no
    whole file to anybody.
    """

    def __init__(self, mxc: Mxc, until: float, reader: BlobReader) -> None:
        self.mxc = mxc
        self.until = until
        """Until when it is waited for if it has not been uploaded yet."""
        self.scope = trio.CancelScope()
        self.description: Description | None = None
        self.length: int | None = None
        """How long the file is, where its server says so."""
        self.media: StoredMedia | None = None
        self.failure: Exception | None = None
        self._reader = reader
        self._ended = trio.Event()
        self._grown = trio.Event()
        self._file: Path | None = None
        self._written = 0
        self._wanted = 0

    @property
    def has_ended(self) -> bool:
        """Whether it is here, or will not be."""
        return self._ended.is_set()

    def patience_seconds(self) -> int:
        """Return how long it is still waited for, in seconds, rounded up."""
        return max(0, math.ceil(self.until - trio.current_time()))

    def describe(self, description: Description, length: int | None) -> None:
        """Say what is coming."""
        self.description, self.length = description, length

    def grow(self, file: Path, size: int) -> None:
        """Say how much of it is in a file."""
        self._file, self._written = file, size
        self._wake()

    def end(self) -> None:
        """Say that it has come to its end, whichever."""
        self._ended.set()
        self._wake()

    async def ended(self) -> None:
        """Wait until it is here, or will not be."""
        with self._wanting():
            await self._ended.wait()

    async def begun(self) -> None:
        """Wait until there is something to read, or it has come to its end before."""
        with self._wanting():
            while self._file is None and not self._ended.is_set():
                await self._grown.wait()

    async def parts(self) -> AsyncIterator[bytes]:
        """Return its bytes as they come. Raises CutShort."""
        with self._wanting():
            position = 0
            handle = await trio.to_thread.run_sync(self._open)
            if handle is not None:
                try:
                    while not self._ended.is_set():
                        while position < self._written:
                            data = await trio.to_thread.run_sync(
                                handle.read, min(CHUNK_BYTES, self._written - position)
                            )
                            position += len(data)
                            yield data
                        if not self._ended.is_set():
                            await self._grown.wait()
                finally:
                    handle.close()
            await self._ended.wait()
        if self.media is None or self.media.digest is None:
            raise CutShort(f"the rest of {self.mxc} does not come: {self.failure}")
        async with contextlib.aclosing(  # type: ignore[type-var]  # stores give generators
            self._reader.read(self.media.digest, position, self.media.size)
        ) as rest:
            async for data in rest:
                yield data

    def _open(self) -> BinaryIO | None:
        assert self._file is not None  # noqa: S101  # it has begun
        try:
            return self._file.open("rb", buffering=0)
        except FileNotFoundError:
            return None  # it has just come to its end

    def _wake(self) -> None:
        self._grown.set()
        self._grown = trio.Event()

    @contextlib.contextmanager
    def _wanting(self) -> Iterator[None]:
        self._wanted += 1
        self.scope.deadline = math.inf
        try:
            yield
        finally:
            self._wanted -= 1
            if not self._wanted:
                self.scope.deadline = trio.current_time() + _UNWANTED_SECONDS
