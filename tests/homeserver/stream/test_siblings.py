"""What processes on one machine tell and ask each other."""

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


async def answer_backwards(question: bytes) -> bytes:
    return question[::-1]


async def test_all_are_told_in_order_and_each_can_be_asked(tmp_path: Path, memory: mmap.mmap) -> None:
    three = family(tmp_path, memory, 3)
    heard: list[list[bytes]] = [[], [], []]
    async with trio.open_nursery() as nursery:
        for one, news in zip(three, heard, strict=True):
            one.listen(Topic.ROOMS, news.append)
            one.answer_with(answer_backwards)
            await start(nursery, one)
        await until(lambda: all(len(one.reached) == 2 for one in three))
        said = [b"%d" % number * number for number in range(1_000)]
        for words in said:
            assert three[1].tell(Topic.ROOMS, words)
            three[1].wake({0})
            for each in (three[0], three[2]):
                each.hear()
        assert three[1].tell(Topic.COMMITS, b"what nobody listens to")
        for asking in three:
            for place in asking.reached:
                assert await asking.ask(place, b"abc" * 100_000) == b"cba" * 100_000
        await until(lambda: heard == [said, [], said])
        nursery.cancel_scope.cancel()


async def test_one_that_dies_leaves_questions_open_and_is_replaced(tmp_path: Path, memory: mmap.mmap) -> None:
    one, other = family(tmp_path, memory, 2)
    asked = trio.Event()

    async def think(_question: bytes) -> bytes:
        asked.set()
        await trio.sleep_forever()
        raise AssertionError

    answers: list[bytes | None] = []

    async def ask() -> None:
        answers.append(await other.ask(0, b"?"))

    async with trio.open_nursery() as nursery:
        one.answer_with(think)
        killed = await start(nursery, one)
        await start(nursery, other)
        await until(lambda: bool(other.reached))
        nursery.start_soon(ask)
        await asked.wait()
        killed.cancel()
        await until(lambda: answers == [None])
        await until(lambda: not other.reached)
        assert not other.tell(Topic.ROOMS, b"unheard")
        assert await other.ask(0, b"?") is None

        replacement = Siblings(tmp_path, CommonMemory(memory, 0, 2))
        replacement.answer_with(answer_backwards)
        await start(nursery, replacement)
        await until(lambda: bool(other.reached))
        assert await other.ask(0, b"ab") == b"ba"
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


async def test_what_waits_for_one_that_does_not_keep_up_is_bounded(
    tmp_path: Path, memory: mmap.mmap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_UNSENT", 1_000)
    one, other = family(tmp_path, memory, 2)
    heard: list[bytes] = []
    other.listen(Topic.ROOMS, heard.append)
    async with trio.open_nursery() as nursery:
        await start(nursery, one)
        await start(nursery, other)
        await until(lambda: bool(one.reached))
        assert await one.ask(1, b"x" * 1_001) is None
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


async def test_one_of_those_that_are_there_is_the_first(tmp_path: Path, memory: mmap.mmap) -> None:
    one, other = family(tmp_path, memory, 2)
    async with trio.open_nursery() as nursery:
        killed = await start(nursery, one)
        await start(nursery, other)
        await until(lambda: one.is_first and not other.is_first)
        killed.cancel()
        await until(lambda: other.is_first)
        nursery.cancel_scope.cancel()
