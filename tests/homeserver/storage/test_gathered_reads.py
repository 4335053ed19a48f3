"""Reading together what is asked for at the same time."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from tricord.homeserver.storage.errors import DatabaseUnavailable
from tricord.homeserver.storage.gathered_reads import GatheredReads

BROKEN = 1_313


class Table:
    """A table of squares of what is positive, which takes a second to be read."""

    def __init__(self) -> None:
        self.reads: list[list[int]] = []

    async def read(self, keys: Sequence[int]) -> dict[int, int]:
        self.reads.append(sorted(keys))
        await trio.sleep(1)
        if 0 in keys:
            raise DatabaseUnavailable("no connection")
        if BROKEN in keys:
            raise ValueError(f"what belongs to {BROKEN} is broken")
        return {key: key * key for key in keys if key > 0}


async def test_who_asks_during_a_read_gets_what_the_next_one_finds(autojump_clock: MockClock) -> None:
    table = Table()
    squares = GatheredReads(table.read)
    found: dict[int, int | None] = {}

    async def ask(key: int) -> None:
        found[key] = (await squares.get([key])).get(key)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, 1)
        await trio.testing.wait_all_tasks_blocked()
        for key in (2, 3, -4):
            nursery.start_soon(ask, key)
        nursery.start_soon(squares.get, [3, 5])
    assert table.reads == [[1], [-4, 2, 3, 5]]
    assert found == {1: 1, 2: 4, 3: 9, -4: None}
    assert trio.current_time() == 2


async def test_a_read_that_has_begun_is_too_old_for_who_asks_now(autojump_clock: MockClock) -> None:
    table = Table()
    squares = GatheredReads(table.read)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(squares.get, [1])
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(squares.get, [1])
    assert table.reads == [[1], [1]]


async def test_what_is_broken_fails_for_who_asked_for_it_and_for_nobody_else(autojump_clock: MockClock) -> None:
    table = Table()
    squares = GatheredReads(table.read)
    found: dict[int, int | None] = {}

    async def ask(key: int) -> None:
        try:
            found[key] = (await squares.get([key]))[key]
        except ValueError:
            found[key] = None

    async with trio.open_nursery() as nursery:
        for key in (1, 2, BROKEN, 3):
            nursery.start_soon(ask, key)
            await trio.testing.wait_all_tasks_blocked()
    assert found == {1: 1, 2: 4, BROKEN: None, 3: 9}


async def test_a_database_that_is_away_is_away_for_who_asked_together(
    autojump_clock: MockClock,
) -> None:
    table = Table()
    squares = GatheredReads(table.read)
    refused = []

    async def ask_in_vain(key: int) -> None:
        with pytest.raises(DatabaseUnavailable):
            await squares.get([key])
        refused.append(key)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(squares.get, [1])
        await trio.testing.wait_all_tasks_blocked()
        for key in (0, 2):
            nursery.start_soon(ask_in_vain, key)
        await trio.sleep(1.5)
        nursery.start_soon(squares.get, [3])
    assert sorted(refused) == [0, 2]
    assert table.reads == [[1], [0, 2], [3]]


@pytest.mark.parametrize("leaves", [2, 3])
async def test_who_goes_away_takes_nobody_along(autojump_clock: MockClock, leaves: int) -> None:
    table = Table()
    squares = GatheredReads(table.read)
    found = []

    async def ask(key: int) -> None:
        with trio.move_on_after(0.5 if key == leaves else 60):
            found.append((await squares.get([key]))[key])

    async with trio.open_nursery() as nursery:
        for key in (1, 2, 3):
            nursery.start_soon(ask, key)
            await trio.testing.wait_all_tasks_blocked()
    assert set(found) >= {key * key for key in (1, 2, 3) if key != leaves}
    assert (await squares.get([4]))[4] == 16


async def test_nobody_waits_for_who_asks_for_much(autojump_clock: MockClock) -> None:
    table = Table()
    squares = GatheredReads(table.read)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(squares.get, range(1, 101))
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(squares.get, [1])
    assert table.reads == [list(range(1, 101)), [1]]
    assert trio.current_time() == 1
