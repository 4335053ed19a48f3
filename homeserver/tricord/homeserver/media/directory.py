"""Blobs in a local folder: each a file named by its digest, complete from the moment it has that name."""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import trio

from tricord.homeserver.media.blobs import CHUNK_BYTES, PAGE, BlobMissing, Held, Label, StoreUnavailable, digest_named
from tricord.homeserver.media.past_cache import (
    DIRECT,
    LEAST_PAST_CACHE,
    MOST_PAST_CACHE,
    PastCache,
    go_past_cache,
    go_through_cache,
    write_blocks,
)
from tricord.homeserver.media.writer import write_all, writing

# Linux has it.
_NOWAIT = getattr(os, "RWF_NOWAIT", 0)
_NAMELESS = getattr(os, "O_TMPFILE", 0)
_SYNCS_AT_ONCE = 32


class _AtOnce:
    """Has a thread begin before anything else happens.

    Trio's own limiter lets all tasks go first that are ready: the disk would have nothing to do while they hash what
    they hold, and then all of it at once. How many threads write is limited by the buffers that are lent.
    """

    async def acquire_on_behalf_of(self, borrower: object) -> None:
        """Wait for nothing."""

    def release_on_behalf_of(self, borrower: object) -> None:
        """Give nothing back."""


_AT_ONCE = _AtOnce()


class DirectoryStore:
    """Keeps blobs in a folder, on the file system that the files to keep are on already.

    With `past_cache`, a file that was written past the system's cache is read past it, too, the first time: many are
    read only once. Who reads it again brings it into the cache.
    """

    def __init__(self, folder: Path, past_cache: PastCache | None = None) -> None:
        self._folder = folder
        self._past_cache = past_cache
        # Threads that only wait for the disk: to have the event loop start each of them costs more than what they do.
        self._syncs = ThreadPoolExecutor(_SYNCS_AT_ONCE, thread_name_prefix="media")
        self._preparing = threading.Lock()
        self._is_prepared = False

    keeps_labels = False

    async def prepare(self) -> None:
        """Make the folders for the files, and see them to the disk, so that no file has to wait for that."""
        await trio.to_thread.run_sync(self._prepare)

    async def put(self, digest: bytes, file: Path, label: Label | None = None) -> None:  # noqa: ARG002
        """Move a file to its name, and see all of it to the disk."""
        await trio.to_thread.run_sync(self._put, digest, file)

    async def put_held(self, held: Held) -> bool:
        """Write a file that has no name until it is complete, and see all of it to the disk; False if it cannot be."""
        return await trio.to_thread.run_sync(
            self._put_held,
            held,
            limiter=_AT_ONCE,  # type: ignore[arg-type]  # trio takes whatever has the methods
        )

    async def has(self, digest: bytes) -> bool:
        """Return whether there is a file. Nothing is waited for: it was just put there, as a rule."""
        _, place = self._named(digest)
        return os.path.exists(place) or self._where_it_was(digest).exists()  # noqa: ASYNC240, PTH110

    async def read(self, digest: bytes, start: int, end: int) -> AsyncIterator[bytes]:
        """Read a file, a chunk at a time; a few of them together if it goes past the cache."""
        chunks: list[bytes] = []
        past_cache = self._past_cache
        if past_cache is not None and past_cache.is_unread(digest) and not start and end <= MOST_PAST_CACHE:
            handle, chunks = await trio.to_thread.run_sync(self._open_unread, digest, end)
        else:
            handle = await trio.to_thread.run_sync(self._open, digest)
        try:
            position = start
            while position < end:
                if chunks:
                    for chunk in chunks:
                        await trio.lowlevel.checkpoint()
                        position += len(chunk)
                        yield chunk
                    if position < end:
                        chunks = await trio.to_thread.run_sync(self._read_past_cache, handle, position, end)
                    continue
                size = min(CHUNK_BYTES, end - position)
                chunk = _at_hand(handle, position, size)
                if chunk:
                    await trio.lowlevel.checkpoint()
                else:
                    chunk = await trio.to_thread.run_sync(_read, handle, position, size)
                if not chunk:
                    raise StoreUnavailable(f"the file of {digest.hex()} is shorter than it was")
                position += len(chunk)
                yield chunk
        finally:
            handle.close()

    async def delete(self, digest: bytes) -> None:
        """Delete a file."""
        await trio.to_thread.run_sync(self._delete, digest)

    async def url_of(self, digest: bytes) -> str | None:  # noqa: ARG002
        """Return that there is none."""
        return None

    async def digests(self, after: bytes = b"") -> AsyncIterator[Sequence[bytes]]:
        """Read the names of the files, folder by folder."""
        pages = self._pages(after)
        while page := await trio.to_thread.run_sync(next, pages, ()):
            yield page

    def file_of(self, digest: bytes) -> Path:
        """Return where a blob is, or would be."""
        _, place = self._named(digest)
        return Path(place)

    def _named(self, digest: bytes) -> tuple[str, str]:
        """Return the folder of a blob, and its place there. As text: to make paths takes as long as to open a file."""
        name = digest.hex()
        # Folders of millions of files are slow to list and to back up; but each folder is made, and seen to the disk.
        folder = f"{self._folder}/{name[:2]}"
        return folder, f"{folder}/{name}"

    def _where_it_was(self, digest: bytes) -> Path:
        """Return where a blob was put before there were fewer folders."""
        name = digest.hex()
        return self._folder / name[:2] / name[2:4] / name

    def _prepare(self) -> None:
        # Who finds a folder there must be able to count on it, whoever made it.
        with self._preparing:
            if not self._is_prepared:
                with writing():
                    above = _make(self._folder)
                    for number in range(256):
                        (self._folder / f"{number:02x}").mkdir(exist_ok=True, mode=0o700)
                for folder in (self._folder, *above):
                    _sync(folder)
                self._is_prepared = True

    def _put(self, digest: bytes, file: Path) -> None:
        self._prepare()
        written = self._move(digest, file)
        # Nobody counts on the bytes before they are named, so that the order is free; together they wait but once.
        others = [self._syncs.submit(_sync, path) for path in written[1:]]
        _sync(written[0])
        for other in others:
            other.result()

    def _put_held(self, held: Held) -> bool:
        self._prepare()
        folder, place = self._named(held.digest)
        with writing():
            past_cache = self._past_cache if held.size >= LEAST_PAST_CACHE else None
            try:
                descriptor = os.open(folder, os.O_WRONLY | _NAMELESS | (DIRECT if past_cache else 0), 0o666)
            except OSError:
                return False  # whatever is the matter, the general way tells, or finds a way out
            try:
                if past_cache is None:
                    write_all(descriptor, held.data)
                elif write_blocks(descriptor, held.buffer, held.size, held.size) < held.size:
                    return False
                try:
                    # Only with a folder it follows the link, to the file itself.
                    os.link(f"/proc/self/fd/{descriptor}", place, src_dir_fd=descriptor, follow_symlinks=True)
                except OSError:
                    return False  # the bytes are there already, for example
                # As one of them is seen to the disk, so is mostly the other: nothing is gained by doing it at once.
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        _sync(folder)
        if past_cache is not None:
            past_cache.note_written(held.digest)
        return True

    def _move(self, digest: bytes, file: Path) -> list[Path]:
        """Give a file its name, and return what is to be seen to the disk for it."""
        place = self.file_of(digest)
        with writing():
            # The name itself is in its folder, and a new folder's name in the one above.
            folders = [place.parent]
            try:
                try:
                    os.link(file, place)
                except FileNotFoundError:
                    folders += _make(place.parent)
                    os.link(file, place)
            except OSError:
                # The bytes are there already, and somebody may count on them; or files have but one name here.
                _sync(file)
                file.replace(place)
                return folders
            file.unlink()
            return [place, *folders]

    def _pages(self, after: bytes) -> Iterator[Sequence[bytes]]:
        page: list[bytes] = []
        for upper in _names_in(self._folder, 2, after.hex()[:2]):
            names = set(_names_in(self._folder / upper, 64, upper))
            for lower in _names_in(self._folder / upper, 2, after.hex()[2:4] if after.hex()[:2] == upper else ""):
                names.update(_names_in(self._folder / upper / lower, 64, upper + lower))
            digests = (digest_named(name) for name in sorted(names))
            page += [digest for digest in digests if digest is not None and digest > after]
            while len(page) >= PAGE:
                yield page[:PAGE]
                page = page[PAGE:]
        if page:
            yield page

    def _open_unread(self, digest: bytes, end: int) -> tuple[BinaryIO, list[bytes]]:
        """Open a file that is not in the cache; return its first chunks, too."""
        handle = self._open(digest)
        return handle, self._read_past_cache(handle, 0, end)

    def _read_past_cache(self, handle: BinaryIO, position: int, end: int) -> list[bytes]:
        """Return as many bytes as a buffer holds, in chunks; none if they are to be read through the cache."""
        if self._past_cache is None:
            return []
        with self._past_cache.buffer() as buffer:
            if buffer is None or not go_past_cache(handle.fileno()):
                return []
            try:
                count = min(os.preadv(handle.fileno(), [buffer], position), end - position)
            except OSError:
                return []  # if it cannot be read at all, that will be told by the other way
            finally:
                go_through_cache(handle.fileno())
            return [bytes(buffer[at : min(at + CHUNK_BYTES, count)]) for at in range(0, count, CHUNK_BYTES)]

    def _open(self, digest: bytes) -> BinaryIO:
        try:
            try:
                return self.file_of(digest).open("rb", buffering=0)
            except FileNotFoundError:
                return self._where_it_was(digest).open("rb", buffering=0)
        except FileNotFoundError:
            raise BlobMissing(f"there is no file of {digest.hex()}") from None
        except OSError as error:
            raise StoreUnavailable(f"the folder of media cannot be read: {error.strerror}") from error

    def _delete(self, digest: bytes) -> None:
        with writing():
            self.file_of(digest).unlink(missing_ok=True)
            self._where_it_was(digest).unlink(missing_ok=True)


def _make(folder: Path) -> list[Path]:
    """Make a folder, and those above; return where they got their names."""
    made = []
    for each in (folder, *folder.parents):
        if each.exists():
            break
        made.append(each)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return [each.parent for each in made]


def _names_in(folder: Path, length: int, first: str) -> list[str]:
    """Return the names of a length in a folder, in order, from one on."""
    try:
        return sorted(each.name for each in os.scandir(folder) if len(each.name) == length and each.name >= first)
    except FileNotFoundError:
        return []  # there is none yet
    except OSError as error:
        raise StoreUnavailable(f"the folder of media cannot be read: {error.strerror}") from error


def _at_hand(handle: BinaryIO, position: int, size: int) -> bytes:
    """Return what can be read without waiting for the disk, and so without a thread; b"" for nothing."""
    if not _NOWAIT:
        return b""
    buffer = bytearray(size)
    try:
        count = os.preadv(handle.fileno(), [buffer], position, _NOWAIT)
    except OSError:
        return b""  # it is not in memory, or this file system cannot tell
    return bytes(memoryview(buffer)[:count])


def _read(handle: BinaryIO, position: int, size: int) -> bytes:
    try:
        return os.pread(handle.fileno(), size, position)
    except OSError as error:
        raise StoreUnavailable(f"the folder of media cannot be read: {error.strerror}") from error


def _sync(path: Path | str) -> None:
    with writing():
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
