"""Writing files: past the system's cache, through it, and on file systems that refuse the former."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import trio

from tricord.homeserver.media.blobs import StoreUnavailable
from tricord.homeserver.media.directory import DirectoryStore
from tricord.homeserver.media.past_cache import BUFFER_BYTES, MOST_PAST_CACHE, PastCache, go_past_cache
from tricord.homeserver.media.spool import Spool, TooManyBytes
from tricord.homeserver.media.writer import Writer

_O_DIRECT = getattr(os, "O_DIRECT", 0)
_NOWAIT = getattr(os, "RWF_NOWAIT", 0)
_LARGE = 3 * BUFFER_BYTES + 12_345

Write = Callable[[int, memoryview], int]


def by_blocks() -> PastCache | None:
    return PastCache()


def through_cache() -> PastCache | None:
    return None


def with_none_free() -> PastCache | None:
    return PastCache(most_buffers=0)


@pytest.fixture(params=[by_blocks, through_cache, with_none_free])
def past_cache(request: pytest.FixtureRequest) -> PastCache | None:
    made: PastCache | None = request.param()
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder where files can be written past the cache."""
    with (tmp_path / "tried").open("xb") as tried:
        if not go_past_cache(tried.fileno()):
            pytest.skip("this file system has only the cache")
    (tmp_path / "tried").unlink()
    return tmp_path


async def coming(data: bytes, at_once: int) -> AsyncIterator[bytes]:
    for at in range(0, len(data), at_once):
        yield data[at : at + at_once]


def is_in_cache(file: Path, position: int = 0) -> bool:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        return os.preadv(descriptor, [bytearray(1)], position, _NOWAIT) == 1
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)


def goes_past_cache(descriptor: int) -> bool:
    return bool(fcntl.fcntl(descriptor, fcntl.F_GETFL) & _O_DIRECT)


def refusing(error: int, after: int = 0) -> Write:
    """Return an `os.write` that refuses what goes past the cache once some of it has been written."""
    written, write = 0, os.write

    def refused(descriptor: int, data: memoryview) -> int:
        nonlocal written
        if goes_past_cache(descriptor):
            if written >= after:
                raise OSError(error, os.strerror(error))
            written += len(data)
        return write(descriptor, data)

    return refused


@pytest.mark.parametrize("size", [0, 1, 4096, 131_071, 131_072, 131_073, BUFFER_BYTES, BUFFER_BYTES + 1, _LARGE])
@pytest.mark.parametrize("at_once", [10_000, 65_536, 245_760, _LARGE])
async def test_what_comes_is_what_is_written(
    past_cache: PastCache | None, tmp_path: Path, size: int, at_once: int
) -> None:
    data = os.urandom(size)
    async with Spool(tmp_path / "incoming", past_cache).receive(
        coming(data, at_once), size, read_at_once=False
    ) as spooled:
        assert spooled.file.read_bytes() == data
        assert (spooled.size, spooled.digest) == (size, hashlib.sha256(data).digest())
    assert list((tmp_path / "incoming").iterdir()) == []


async def test_only_small_files_are_written_through_the_cache(folder: Path) -> None:
    spool = Spool(folder / "incoming", PastCache())
    for size, through_cache in ((1000, True), (BUFFER_BYTES, False)):
        async with spool.receive(coming(os.urandom(size), 65_536), size, read_at_once=False) as spooled:
            assert is_in_cache(spooled.file) is through_cache


async def test_the_rest_of_a_large_file_is_written_through_the_cache(folder: Path) -> None:
    data = os.urandom(MOST_PAST_CACHE + 2 * _LARGE)
    spool = Spool(folder / "incoming", PastCache())
    async with spool.receive(coming(data, 100_000), len(data), read_at_once=False) as spooled:
        assert is_in_cache(spooled.file, len(data) - 1)
        assert not is_in_cache(spooled.file)
        assert spooled.file.read_bytes() == data
        assert spooled.digest == hashlib.sha256(data).digest()


async def test_who_reads_along_finds_the_file_in_the_cache(folder: Path) -> None:
    grown: list[bool] = []
    async with Spool(folder / "incoming", PastCache()).receive(
        coming(os.urandom(_LARGE), 65_536), _LARGE, lambda file, _size: grown.append(is_in_cache(file))
    ):
        assert grown
        assert all(grown)


@pytest.mark.parametrize("after", [0, BUFFER_BYTES])
async def test_a_file_system_that_refuses_gets_the_rest_through_the_cache(
    folder: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    data = os.urandom(_LARGE)
    monkeypatch.setattr(os, "write", refusing(errno.EINVAL, after))
    async with Spool(folder / "incoming", PastCache()).receive(
        coming(data, 100_000), _LARGE, read_at_once=False
    ) as spooled:
        assert spooled.file.read_bytes() == data
        assert spooled.digest == hashlib.sha256(data).digest()


async def test_a_disk_that_becomes_full_leaves_neither_file_nor_buffer_behind(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    past_cache = PastCache(most_buffers=1)
    monkeypatch.setattr(os, "write", refusing(errno.ENOSPC, BUFFER_BYTES))
    with pytest.raises(StoreUnavailable, match="no space left"):
        async with Spool(folder / "incoming", past_cache).receive(
            coming(os.urandom(_LARGE), 100_000), _LARGE, read_at_once=False
        ):
            pass
    assert list((folder / "incoming").iterdir()) == []
    with past_cache.buffer() as buffer:
        assert buffer is not None


async def test_an_upload_that_is_given_up_leaves_neither_file_nor_buffer_behind(folder: Path) -> None:
    past_cache = PastCache(most_buffers=1)
    spool = Spool(folder / "incoming", past_cache)

    async def stuck() -> AsyncIterator[bytes]:
        yield os.urandom(_LARGE)
        assert len(list(spool.folder.iterdir())) == 1
        scope.cancel()
        await trio.sleep_forever()

    with trio.CancelScope() as scope:
        async with spool.receive(stuck(), 10 * _LARGE, read_at_once=False):
            pass
    assert scope.cancelled_caught
    with pytest.raises(TooManyBytes):
        async with spool.receive(coming(os.urandom(_LARGE), 65_536), _LARGE - 1, read_at_once=False):
            pass
    assert list(spool.folder.iterdir()) == []
    with past_cache.buffer() as buffer:
        assert buffer is not None


def test_who_finds_no_free_buffer_does_not_wait(folder: Path) -> None:
    data, past_cache = os.urandom(_LARGE), PastCache(most_buffers=1)
    writer = Writer(folder / "file", past_cache)
    writer.write([data])
    with past_cache.buffer() as buffer:
        assert buffer is not None
        writer.write([data])
    writer.finish([b"the end"])
    assert writer.file.read_bytes() == data + data + b"the end"
    assert writer.hash.digest() == hashlib.sha256(data + data + b"the end").digest()


def test_buffers_are_used_again_until_they_are_let_go() -> None:
    past_cache = PastCache(most_buffers=2)
    with past_cache.buffer() as first:
        assert first is not None
        first[:4] = b"mark"
    with past_cache.buffer() as again, past_cache.buffer() as other, past_cache.buffer() as none:
        assert again is not None
        assert other is not None
        assert none is None
        assert (bytes(again[:4]), bytes(other[:4])) == (b"mark", bytes(4))
    past_cache.let_go()
    with past_cache.buffer() as new:
        assert new is not None
        assert bytes(new[:4]) == bytes(4)


async def read(store: DirectoryStore, digest: bytes, start: int, end: int) -> bytes:
    return b"".join([chunk async for chunk in store.read(digest, start, end)])


async def test_a_file_comes_into_the_cache_once_it_is_read_again(folder: Path) -> None:
    past_cache = PastCache()
    store, spool = DirectoryStore(folder / "blobs", past_cache), Spool(folder / "incoming", past_cache)
    data = os.urandom(_LARGE)
    async with spool.receive(coming(data, 65_536), _LARGE, read_at_once=False) as spooled:
        await store.put(spooled.digest, spooled.file)
    assert await read(store, spooled.digest, 0, _LARGE) == data
    assert not is_in_cache(store.file_of(spooled.digest))
    assert await read(store, spooled.digest, 0, _LARGE) == data
    assert is_in_cache(store.file_of(spooled.digest))


@pytest.mark.parametrize(("start", "end"), [(0, 10), (0, BUFFER_BYTES), (5000, 2 * BUFFER_BYTES), (_LARGE - 1, _LARGE)])
async def test_a_part_of_a_new_file_can_be_read_first(
    past_cache: PastCache | None, tmp_path: Path, start: int, end: int
) -> None:
    store, spool = DirectoryStore(tmp_path / "blobs", past_cache), Spool(tmp_path / "incoming", PastCache())
    data = os.urandom(_LARGE)
    async with spool.receive(coming(data, 65_536), _LARGE, read_at_once=False) as spooled:
        await store.put(spooled.digest, spooled.file)
    assert await read(store, spooled.digest, start, end) == data[start:end]
    assert await read(store, spooled.digest, 0, _LARGE) == data


async def test_a_new_file_that_is_cut_off_is_not_given_as_if_it_were_whole(tmp_path: Path) -> None:
    past_cache = PastCache()
    store, spool = DirectoryStore(tmp_path / "blobs", past_cache), Spool(tmp_path / "incoming", past_cache)
    async with spool.receive(coming(os.urandom(_LARGE), 65_536), _LARGE, read_at_once=False) as spooled:
        await store.put(spooled.digest, spooled.file)
    os.truncate(store.file_of(spooled.digest), BUFFER_BYTES + 100)
    with pytest.raises(StoreUnavailable, match="shorter"):
        await read(store, spooled.digest, 0, _LARGE)
