"""The other side of `bench.database`: asyncpg as it comes, on asyncio; and what both sides share.

Nothing of Tricord is imported here: its driver changes asyncpg, which this process must have unchanged.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable

import asyncpg

TASKS = 16
ROWS = [(number, "x" * 100) for number in range(10_000)]
SELECT = "SELECT 1"
INSERT = "INSERT INTO bench (number, name) VALUES ($1, $2)"
MAKE_TABLES = """
    CREATE TABLE IF NOT EXISTS bench (number int, name text);
    CREATE UNLOGGED TABLE IF NOT EXISTS bench_copy (number int, name text);
"""

Act = Callable[[int], Awaitable[object]]
# For each thing measured: how often per second, and microseconds of CPU for one.
Figures = dict[str, tuple[float, float]]


class Meter:
    """Counts what is done by some tasks until the time is up."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end = 0.0
        self._count = 0

    async def repeat(self, act: Act, task: int) -> None:
        """Do it until the time is up."""
        while time.perf_counter() < self._end:
            await act(task)
            self._count += 1

    async def measure(self, together: Callable[[], Awaitable[None]]) -> tuple[float, float]:
        """Run tasks that repeat, and return what came of it."""
        self._count = 0
        began, cpu = time.perf_counter(), time.process_time()
        self._end = began + self._seconds
        await together()
        taken, used = time.perf_counter() - began, time.process_time() - cpu
        return self._count / taken, used / self._count * 1e6


async def on_asyncio(url: str, seconds: float) -> Figures:
    """Measure asyncpg as it comes."""
    meter, figures = Meter(seconds), {}

    async def measure(name: str, act: Act, tasks: int) -> None:
        async def together() -> None:
            await asyncio.gather(*(meter.repeat(act, task) for task in range(tasks)))

        figures[name] = await meter.measure(together)

    async def insert(_task: int) -> None:
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute(INSERT, 1, "x")

    async def connect(_task: int) -> None:
        await (await asyncpg.connect(url)).close()

    connections = [await asyncpg.connect(url) for _ in range(TASKS)]
    await connections[0].execute(MAKE_TABLES)
    await measure("SELECT 1, one connection", lambda task: connections[task].fetchval(SELECT), 1)
    await measure("SELECT 1, 16 connections", lambda task: connections[task].fetchval(SELECT), TASKS)
    await measure(
        "COPY of 10,000 rows",
        lambda _: connections[0].copy_records_to_table("bench_copy", columns=["number", "name"], records=ROWS),
        1,
    )
    await connections[0].execute("TRUNCATE bench_copy")
    async with asyncpg.create_pool(url, min_size=TASKS, max_size=TASKS) as pool:
        await measure("SELECT 1, 16 tasks, from the pool", lambda _: pool.fetchval(SELECT), TASKS)
        await measure("transaction with one insert, 1 task", insert, 1)
        await measure("transaction with one insert, 16 tasks", insert, TASKS)
    await measure("connect and close", connect, 1)
    return figures


if __name__ == "__main__":
    print(json.dumps(asyncio.run(on_asyncio(sys.argv[1], float(sys.argv[2])))))
