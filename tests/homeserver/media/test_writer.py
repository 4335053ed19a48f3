"""Taking in files: held in memory, written past the system's cache or through it, and where the former is refused."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from tricord.homeserver.media.blobs import Held, StoreUnavailable
from tricord.homeserver.media.directory import DirectoryStore
from tricord.homeserver.media.past_cache import BUFFER_BYTES, MOST_PAST_CACHE, PastCache, go_past_cache
from tricord.homeserver.media.spool import Spool, Spooled, TooManyBytes

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


def content(received: Spooled | Held) -> bytes:
    return received.file.read_bytes() if isinstance(received, Spooled) else bytes(received.data)


def files_in(folder: Path) -> list[str]:
    return [each.name for each in folder.rglob("*") if each.is_file()]


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
    async with Spool(tmp_path / "incoming", past_cache).receive_upload(coming(data, at_once), size) as received:
        assert content(received) == data
        assert (received.size, received.digest) == (size, hashlib.sha256(data).digest())
    assert files_in(tmp_path) == []


async def test_only_small_files_are_written_through_the_cache(folder: Path) -> None:
    past_cache = PastCache()
    store, spool = DirectoryStore(folder / "blobs", past_cache), Spool(folder / "incoming", past_cache)
    for size, through_cache in ((1000, True), (BUFFER_BYTES, False)):
        async with spool.receive_upload(coming(os.urandom(size), 65_536), size) as held:
            assert isinstance(held, Held)
            assert await store.put_held(held)
            assert is_in_cache(store.file_of(held.digest)) is through_cache
            async with spool.written(held) as file:
                assert is_in_cache(file) is through_cache


async def test_the_rest_of_a_large_file_is_written_through_the_cache(folder: Path) -> None:
    data = os.urandom(MOST_PAST_CACHE + 2 * _LARGE)
    spool = Spool(folder / "incoming", PastCache())
    async with spool.receive_upload(coming(data, 100_000), len(data)) as spooled:
        assert isinstance(spooled, Spooled)
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
    async with Spool(folder / "incoming", PastCache()).receive_upload(coming(data, 100_000), _LARGE) as spooled:
        assert isinstance(spooled, Spooled)
        assert spooled.file.read_bytes() == data
        assert spooled.digest == hashlib.sha256(data).digest()


async def test_a_disk_that_becomes_full_leaves_neither_file_nor_buffer_behind(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    past_cache = PastCache(most_buffers=1)
    monkeypatch.setattr(os, "write", refusing(errno.ENOSPC, BUFFER_BYTES))
    with pytest.raises(StoreUnavailable, match="no space left"):
        async with Spool(folder / "incoming", past_cache).receive_upload(coming(os.urandom(_LARGE), 100_000), _LARGE):
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
        async with spool.receive_upload(stuck(), 10 * _LARGE):
            pass
    assert scope.cancelled_caught
    with pytest.raises(TooManyBytes):
        async with spool.receive_upload(coming(os.urandom(_LARGE), 65_536), _LARGE - 1):
            pass
    assert list(spool.folder.iterdir()) == []
    with past_cache.buffer() as buffer:
        assert buffer is not None


async def test_what_is_given_up_while_it_is_held_leaves_no_buffer_behind_and_never_had_a_file(folder: Path) -> None:
    past_cache = PastCache(most_buffers=1)
    spool = Spool(folder / "incoming", past_cache)

    async def stuck() -> AsyncIterator[bytes]:
        yield os.urandom(BUFFER_BYTES - 1)
        assert files_in(folder) == []
        scope.cancel()
        await trio.sleep_forever()

    with trio.CancelScope() as scope:
        async with spool.receive_upload(stuck(), _LARGE):
            pass
    assert scope.cancelled_caught
    with pytest.raises(TooManyBytes):
        async with spool.receive_upload(coming(os.urandom(1001), 100), 1000):
            pass
    with past_cache.buffer() as buffer:
        assert buffer is not None


async def test_who_finds_no_free_buffer_does_not_wait(folder: Path) -> None:
    data, past_cache = os.urandom(_LARGE), PastCache(most_buffers=1)
    spool = Spool(folder / "incoming", past_cache)
    async with (
        spool.receive_upload(coming(b"held", 4), 4) as held,
        spool.receive_upload(coming(data, 65_536), _LARGE) as spooled,
    ):
        assert isinstance(held, Held)
        assert isinstance(spooled, Spooled)
        assert content(spooled) == data
        assert spooled.digest == hashlib.sha256(data).digest()
        assert is_in_cache(spooled.file)
        assert bytes(held.data) == b"held"


async def test_what_is_held_gets_its_name_when_all_of_it_is_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    past_cache, data, seen, synced = PastCache(), os.urandom(BUFFER_BYTES - 1), [], []
    store, spool = DirectoryStore(folder / "blobs", past_cache), Spool(folder / "incoming", past_cache)
    await store.prepare()
    link, sync = os.link, os.fsync

    def note_link(source: str, place: str, **how: Any) -> None:
        seen.append((files_in(folder), Path(source).read_bytes() == data))
        link(source, place, **how)

    def note_sync(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)
        sync(descriptor)

    monkeypatch.setattr(os, "link", note_link)
    monkeypatch.setattr(os, "fsync", note_sync)
    async with spool.receive_upload(coming(data, 65_536), BUFFER_BYTES) as held:
        assert isinstance(held, Held)
        assert await store.put_held(held)
        place = store.file_of(held.digest)
        # The file first: its folder has its name by then.
        assert synced == [place.stat().st_ino, place.parent.stat().st_ino]
        assert seen == [([], True)]
        assert files_in(folder) == [place.name]
        assert place.read_bytes() == data
        # Somebody may count on the bytes that are there: they are replaced by a file that is safe, or not at all.
        assert not await store.put_held(held)
    assert files_in(folder) == [place.name]


async def test_what_is_held_is_written_while_others_still_work(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    past_cache, writing, link = PastCache(), threading.Event(), os.link
    store, spool = DirectoryStore(folder / "blobs", past_cache), Spool(folder / "incoming", past_cache)
    await store.prepare()

    def note_link(source: str, place: str, **how: Any) -> None:
        writing.set()
        link(source, place, **how)

    async def work() -> None:
        # As who hashes: nothing else happens in this thread meanwhile.
        assert writing.wait(5)

    monkeypatch.setattr(os, "link", note_link)
    async with spool.receive_upload(coming(b"bytes", 1), BUFFER_BYTES) as held, trio.open_nursery() as nursery:
        assert isinstance(held, Held)
        for _ in range(5):
            nursery.start_soon(work)
        assert await store.put_held(held)


@pytest.mark.parametrize("size", [1000, BUFFER_BYTES - 1])
async def test_where_files_cannot_be_without_a_name_they_have_one(folder: Path, size: int) -> None:
    past_cache = PastCache()
    store, spool = DirectoryStore(folder / "blobs", past_cache), Spool(folder / "incoming", past_cache)
    await store.prepare()
    data = os.urandom(size)
    place = store.file_of(hashlib.sha256(data).digest())
    # Somebody tidied up.
    place.parent.rmdir()
    async with spool.receive_upload(coming(data, 65_536), size) as held:
        assert isinstance(held, Held)
        assert not await store.put_held(held)
        async with spool.written(held) as file:
            await store.put(held.digest, file)
    assert files_in(folder) == [place.name]
    assert place.read_bytes() == data


@pytest.mark.parametrize(("error", "words"), [(errno.EINVAL, None), (errno.ENOSPC, "no space left")])
async def test_what_is_held_and_cannot_be_written_leaves_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: int, words: str | None
) -> None:
    past_cache = PastCache()
    store, spool = DirectoryStore(folder / "blobs", past_cache), Spool(folder / "incoming", past_cache)
    async with spool.receive_upload(coming(os.urandom(BUFFER_BYTES), 65_536), BUFFER_BYTES) as held:
        assert isinstance(held, Held)
        monkeypatch.setattr(os, "write", refusing(error))
        if words is None:
            # Through the cache, it can be.
            assert not await store.put_held(held)
            async with spool.written(held) as file:
                assert file.read_bytes() == bytes(held.data)
        else:
            with pytest.raises(StoreUnavailable, match=words):
                await store.put_held(held)
    assert files_in(folder) == []


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
    async with spool.receive_upload(coming(data, 65_536), _LARGE) as spooled:
        assert isinstance(spooled, Spooled)
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
    async with spool.receive_upload(coming(data, 65_536), _LARGE) as spooled:
        assert isinstance(spooled, Spooled)
        await store.put(spooled.digest, spooled.file)
    assert await read(store, spooled.digest, start, end) == data[start:end]
    assert await read(store, spooled.digest, 0, _LARGE) == data


async def test_a_new_file_that_is_cut_off_is_not_given_as_if_it_were_whole(tmp_path: Path) -> None:
    past_cache = PastCache()
    store, spool = DirectoryStore(tmp_path / "blobs", past_cache), Spool(tmp_path / "incoming", past_cache)
    async with spool.receive_upload(coming(os.urandom(_LARGE), 65_536), _LARGE) as spooled:
        assert isinstance(spooled, Spooled)
        await store.put(spooled.digest, spooled.file)
    os.truncate(store.file_of(spooled.digest), BUFFER_BYTES + 100)
    with pytest.raises(StoreUnavailable, match="shorter"):
        await read(store, spooled.digest, 0, _LARGE)
