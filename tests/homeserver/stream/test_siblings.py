"""What processes on one machine tell each other."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from tricord.homeserver.stream import siblings as module
from tricord.homeserver.stream.common_memory import SIZE, CommonMemory
from tricord.homeserver.stream.siblings import Siblings, Topic

_PATIENCE_SECONDS = 60


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(_PATIENCE_SECONDS):
        while not condition():  # noqa: ASYNC110  # sockets tell nobody but who reads them
            await trio.sleep(0.01)


async def start(nursery: trio.Nursery, one: Siblings) -> trio.CancelScope:
    """Let one of them run, in a scope of its own to be killed by."""
    scope = trio.CancelScope()

    async def run(task_status: trio.TaskStatus[None]) -> None:
        with scope:
            await one.run(task_status=task_status)

    await nursery.start(run)
    return scope


@pytest.fixture
def memory() -> mmap.mmap:
    return mmap.mmap(-1, SIZE)


def family(folder: Path, memory: mmap.mmap, count: int) -> list[Siblings]:
    return [Siblings(folder, CommonMemory(memory, place, count)) for place in range(count)]


async def test_all_are_told_in_order(tmp_path: Path, memory: mmap.mmap) -> None:
    three = family(tmp_path, memory, 3)
    heard: list[list[bytes]] = [[], [], []]
    async with trio.open_nursery() as nursery:
        for one, news in zip(three, heard, strict=True):
            one.listen(Topic.ROOMS, news.append)
            await start(nursery, one)
        await until(lambda: all(len(one.reached) == 2 for one in three))
        said = [b"%d" % number * number for number in range(1_000)]
        for words in said:
            assert three[1].tell(Topic.ROOMS, words)
            three[1].wake({0})
            for each in (three[0], three[2]):
                each.hear()
        assert three[1].tell(Topic.COMMITS, b"what nobody listens to")
        await until(lambda: heard == [said, [], said])
        nursery.cancel_scope.cancel()


async def test_one_that_dies_is_told_nothing_and_is_replaced(tmp_path: Path, memory: mmap.mmap) -> None:
    one, other = family(tmp_path, memory, 2)
    heard: list[bytes] = []
    async with trio.open_nursery() as nursery:
        killed = await start(nursery, one)
        await start(nursery, other)
        await until(lambda: other.reaches(0))
        killed.cancel()
        await until(lambda: not other.reached)
        assert not other.tell(Topic.ROOMS, b"unheard")

        replacement = Siblings(tmp_path, CommonMemory(memory, 0, 2))
        replacement.listen(Topic.ROOMS, heard.append)
        await start(nursery, replacement)
        await until(lambda: bool(other.reached and replacement.reached))
        assert other.tell(Topic.ROOMS, b"heard")
        other.wake({0})
        await until(lambda: heard == [b"heard"])
        nursery.cancel_scope.cancel()


async def test_who_is_rung_for_looks_at_once_and_nobody_waits_for_one_that_does_not(
    tmp_path: Path, memory: mmap.mmap
) -> None:
    one, other = family(tmp_path, memory, 2)
    looked = trio.Event()
    other.when_rung(looked.set)
    async with trio.open_nursery() as nursery:
        await start(nursery, one)
        await start(nursery, other)
        await until(lambda: bool(one.reached and other.reached))
        for _ in range(100_000):
            one.ring([1])
        with trio.fail_after(_PATIENCE_SECONDS):
            await looked.wait()
        nursery.cancel_scope.cancel()


async def test_both_look_for_what_is_lost_when_a_connection_begins_and_when_it_ends(
    tmp_path: Path, memory: mmap.mmap
) -> None:
    one, other = family(tmp_path, memory, 2)
    looked: list[Siblings] = []
    one.when_lost(lambda: looked.append(one))
    other.when_lost(lambda: looked.append(other))
    async with trio.open_nursery() as nursery:
        killed = await start(nursery, one)
        await start(nursery, other)
        await until(lambda: {*looked} == {one, other})
        looked.clear()
        killed.cancel()
        await until(lambda: {*looked} == {one, other})
        nursery.cancel_scope.cancel()


async def test_who_waits_is_woken_at_once_and_others_in_a_moment(
    tmp_path: Path, memory: mmap.mmap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_GATHER_SECONDS", 0)
    three = family(tmp_path, memory, 3)
    heard: list[int] = []
    async with trio.open_nursery() as nursery:
        for number, one in enumerate(three):
            one.listen(Topic.ROOMS, lambda _news, number=number: heard.append(number))  # type: ignore[misc]
            await start(nursery, one)
        await until(lambda: all(len(one.reached) == 2 for one in three))
        assert three[0].tell(Topic.ROOMS, b"!")
        three[0].wake({2})
        await until(lambda: sorted(heard) == [1, 2])
        nursery.cancel_scope.cancel()


async def test_what_waits_for_one_that_does_not_keep_up_is_bounded(tmp_path: Path, memory: mmap.mmap) -> None:
    one, other = family(tmp_path, memory, 2)
    heard: list[bytes] = []
    other.listen(Topic.ROOMS, heard.append)
    async with trio.open_nursery() as nursery:
        await start(nursery, one)
        await start(nursery, other)
        await until(lambda: bool(one.reached))
        told = 0
        while one.tell(Topic.ROOMS, b"x" * 10_000):
            told += 1
        assert told
        other.hear()
        assert len(heard) == told
        assert one.tell(Topic.ROOMS, b"short")
        one.wake({1})
        await until(lambda: heard[-1] == b"short")
        nursery.cancel_scope.cancel()


async def test_a_caller_who_is_nobody_is_hung_up_on(tmp_path: Path, memory: mmap.mmap) -> None:
    async with trio.open_nursery() as nursery:
        await start(nursery, Siblings(tmp_path, CommonMemory(memory, 0, 2)))
        async with await trio.open_unix_socket(str(tmp_path / "0")) as stream:
            await stream.send_all(bytes([7]))
            assert await stream.receive_some() == b""
        nursery.cancel_scope.cancel()
