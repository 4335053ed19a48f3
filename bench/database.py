"""Measure the storage driver against plain asyncpg on asyncio, on one PostgreSQL, in turns.

    python -m bench.database [--seconds 2] [--rounds 3]

Without TRICORD_TEST_DATABASE_URL it starts an embedded PostgreSQL with the settings of production. Each driver runs in
a process of its own. Given are the best of the rounds per second, and the CPU time of the client for one.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import trio

from bench.plain_asyncpg import INSERT, MAKE_TABLES, ROWS, SELECT, TASKS, Act, Figures, Meter
from tricord.homeserver.storage.connection import Connection
from tricord.homeserver.storage.database import Transaction, open_database
from tricord.homeserver.storage.embedded import embedded_postgres


async def on_trio(url: str, seconds: float) -> Figures:
    """Measure the driver of Tricord."""
    meter, figures = Meter(seconds), {}

    async def measure(name: str, act: Act, tasks: int) -> None:
        async def together() -> None:
            async with trio.open_nursery() as nursery:
                for task in range(tasks):
                    nursery.start_soon(meter.repeat, act, task)

        figures[name] = await meter.measure(together)

    async def insert(tx: Transaction) -> None:
        await tx.execute(INSERT, 1, "x")

    async def select(tx: Transaction) -> None:
        await tx.fetchval(SELECT)

    async def connect(_task: int) -> None:
        await (await Connection.open(url)).aclose()

    connections = [await Connection.open(url) for _ in range(TASKS)]
    await connections[0].execute(MAKE_TABLES)
    await measure("SELECT 1, one connection", lambda task: connections[task].fetchval(SELECT), 1)
    await measure("SELECT 1, 16 connections", lambda task: connections[task].fetchval(SELECT), TASKS)
    await measure(
        "COPY of 10,000 rows", lambda _: connections[0].copy_records("bench_copy", ["number", "name"], ROWS), 1
    )
    await connections[0].execute("TRUNCATE bench_copy")
    async with open_database(url, connections=TASKS) as database:
        await measure("SELECT 1, 16 tasks, from the pool", lambda _: database.read(select), TASKS)
        await measure("transaction with one insert, 1 task", lambda _: database.run(insert), 1)
        await measure("transaction with one insert, 16 tasks", lambda _: database.run(insert), TASKS)
    await measure("connect and close", connect, 1)
    return figures


def compare(url: str, seconds: float, rounds: int) -> None:
    """Let the drivers take turns, and print the best of each."""
    best: dict[str, Figures] = {"bench.database": {}, "bench.plain_asyncpg": {}}
    for _ in range(rounds):
        for module, figures in best.items():
            command = [sys.executable, "-m", module, url, str(seconds)]
            out = subprocess.run(command, capture_output=True, text=True, check=True)
            for name, (rate, cpu) in json.loads(out.stdout.splitlines()[-1]).items():
                figures[name] = max(figures.get(name, (0.0, 0.0)), (rate, cpu))
    print(f"| {'':<38} | {'tricord on trio':>20} | {'asyncpg on asyncio':>20} |")
    print(f"|{'-' * 40}|{'-' * 21}:|{'-' * 21}:|")
    for name, (rate, cpu) in best["bench.database"].items():
        other_rate, other_cpu = best["bench.plain_asyncpg"][name]
        print(f"| {name:<38} | {rate:>8,.0f}/s {cpu:>6,.0f} µs | {other_rate:>8,.0f}/s {other_cpu:>6,.0f} µs |")


async def with_a_server(seconds: float, rounds: int) -> None:
    """Compare on the server that the environment names, or on one of our own."""
    given = os.environ.get("TRICORD_TEST_DATABASE_URL")
    if given:
        compare(given, seconds, rounds)
        return
    with tempfile.TemporaryDirectory() as folder:
        async with embedded_postgres(Path(folder)) as url:
            await trio.to_thread.run_sync(compare, url, seconds, rounds)


def main() -> None:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2, help="how long each thing is measured")
    parser.add_argument("--rounds", type=int, default=3, help="how often the drivers take turns")
    given = parser.parse_args()
    trio.run(with_a_server, given.seconds, given.rounds)


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1].startswith("postgresql://"):
        print(json.dumps(trio.run(on_trio, sys.argv[1], float(sys.argv[2]))))
    else:
        main()
