"""Writing in groups."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from tricord.homeserver.storage.errors import DatabaseUnavailable
from tricord.homeserver.storage.grouped_writes import GroupedWrites


class Table:
    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.calls = 0

    async def write(self, items: Sequence[int]) -> list[int]:
        self.calls += 1
        await trio.sleep(1)
        if 0 in items:
            raise DatabaseUnavailable("no connection")
        if -1 in items:
            raise ValueError("a bad row")
        self.groups.append(list(items))
        return [item * 10 for item in items]


async def test_what_waits_during_a_write_goes_into_the_next_one(autojump_clock: MockClock) -> None:
    table = Table()
    writes = GroupedWrites(table.write)
    results: dict[int, int] = {}

    async def submit(item: int) -> None:
        results[item] = await writes.submit(item)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(submit, 1)
        await trio.testing.wait_all_tasks_blocked()
        for item in (2, 3, 4):
            nursery.start_soon(submit, item)
    assert sorted(table.groups[0]) == [1]
    assert sorted(table.groups[1]) == [2, 3, 4]
    assert results == {1: 10, 2: 20, 3: 30, 4: 40}


async def test_a_bad_item_fails_alone(autojump_clock: MockClock) -> None:
    table = Table()
    writes = GroupedWrites(table.write)
    written = []

    async def submit(item: int) -> None:
        written.append(await writes.submit(item))

    async def submit_bad() -> None:
        with pytest.raises(ValueError, match="a bad row"):
            await writes.submit(-1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(submit, 1)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(submit, 2)
        nursery.start_soon(submit_bad)
        nursery.start_soon(submit, 3)
    assert sorted(written) == [10, 20, 30]


async def test_a_caller_who_goes_away_takes_nobody_along(autojump_clock: MockClock) -> None:
    table = Table()
    writes = GroupedWrites(table.write)
    written = []

    async def submit(item: int) -> None:
        written.append(await writes.submit(item))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(submit, 1)
        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(0.5):
            await submit(2)
        nursery.start_soon(submit, 3)
    assert sorted(written) == [10, 30]
    assert len(writes._waiting) == 0


async def test_a_database_that_is_not_there_is_not_asked_for_each_item(autojump_clock: MockClock) -> None:
    table = Table()
    writes = GroupedWrites(table.write)

    async def submit(item: int) -> None:
        with pytest.raises(DatabaseUnavailable):
            await writes.submit(item)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(submit, 0)
        await trio.testing.wait_all_tasks_blocked()
        for item in (0, 1, 2, 3):
            nursery.start_soon(submit, item)
    assert table.calls == 2
    assert table.groups == []


async def test_a_group_has_a_limit_and_all_are_written_in_order(autojump_clock: MockClock) -> None:
    table = Table()
    writes = GroupedWrites(table.write, limit=3)
    results: dict[int, int] = {}

    async def submit(item: int) -> None:
        results[item] = await writes.submit(item)

    async with trio.open_nursery() as nursery:
        for item in range(1, 9):
            nursery.start_soon(submit, item)
            await trio.testing.wait_all_tasks_blocked()
    assert table.groups == [[1], [2, 3, 4], [5, 6, 7], [8]]
    assert results == {item: item * 10 for item in range(1, 9)}
