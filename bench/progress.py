"""How far a long piece of work is, told while it is done."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio

from bench.figures import cpu_seconds

_TELL_EVERY_SECONDS = 10


@asynccontextmanager
async def stage(name: str, upto: int, pid: int) -> AsyncIterator[Callable[[], None]]:
    """Print how far a part of the work is, and what it took; call what is given for each that is done."""
    count, cpu, started = 0, cpu_seconds(pid), time.perf_counter()

    def step() -> None:
        nonlocal count
        count += 1

    async def tell() -> None:
        while True:
            await trio.sleep(_TELL_EVERY_SECONDS)
            left = f", about {(time.perf_counter() - started) * (upto / count - 1):.0f} s more" if count else ""
            print(f"{name}: {count:,} of {upto:,}{left}", flush=True)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tell)
        yield step
        nursery.cancel_scope.cancel()
    if not upto:
        return
    took, cpu = time.perf_counter() - started, cpu_seconds(pid) - cpu
    print(f"{name}: {upto:,} after {took:.1f} s, {cpu:.1f} s of the server's CPU", flush=True)
