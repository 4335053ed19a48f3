"""Reading: how many reads of each kind a server answers, asked by many at once."""

from __future__ import annotations

import time
from urllib.parse import quote

import trio

from bench.accounts import User
from bench.figures import milliseconds, percentile
from bench.scenario import TEXT, Bench

_READERS = 32
_MESSAGES = 200


async def reads(bench: Bench) -> None:
    """Measure reads per second: syncs without and with everything, history, and members, 32 at once."""
    readers = bench.users[:_READERS]
    room_id = await bench.room(readers)
    async with bench.connection(readers[0]) as connection:
        for _ in range(_MESSAGES):
            await connection.call_raw("PUT", bench.send_path(room_id), TEXT)
        since = (await connection.call("GET", "/_matrix/client/v3/sync?timeout=0"))["next_batch"]
    room = f"/_matrix/client/v3/rooms/{quote(room_id)}"
    for name, path in {
        "/sync with nothing new": f"/_matrix/client/v3/sync?timeout=0&since={quote(since)}",
        "first /sync": "/_matrix/client/v3/sync?timeout=0",
        "/messages, pages of 50": f"{room}/messages?dir=b&limit=50",
        "/joined_members": f"{room}/joined_members",
    }.items():
        await _rate(bench, f"{name}, {_READERS} at once", readers, path)


async def _rate(bench: Bench, name: str, readers: list[User], path: str) -> None:
    latencies: list[float] = []
    started = time.perf_counter()

    async def read(user: User) -> None:
        async with bench.connection(user) as connection:
            while (asked := time.perf_counter()) < started + bench.seconds:
                await connection.call_raw("GET", path)
                latencies.append(time.perf_counter() - asked)

    async with trio.open_nursery() as nursery:
        for user in readers:
            nursery.start_soon(read, user)
    rate = len(latencies) / (time.perf_counter() - started)
    bench.figures.add(
        name, f"{rate:.0f}/s, {milliseconds(latencies)}", per_second=rate, p50_ms=percentile(latencies, 0.5) * 1e3
    )
