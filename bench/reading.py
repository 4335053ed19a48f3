"""Reading: how many reads of each kind a server answers, asked by many at once."""

from __future__ import annotations

import itertools
from urllib.parse import quote

import trio

from bench.accounts import User
from bench.asking import ask, ceiling
from bench.figures import milliseconds, percentile
from bench.scenario import TEXT, Bench

_READERS = 32
_MESSAGES = 200
_CEILING_SECONDS = 0.25


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
    requests = [bench.connection(user).request("GET", path) for user in readers]
    again_and_again = [itertools.repeat(request) for request in requests]
    answered = await trio.to_thread.run_sync(ask, bench.base_url, again_and_again, bench.seconds)
    # How far the load generator is from being what is measured.
    at_most = await trio.to_thread.run_sync(ceiling, answered, requests[0], len(requests), _CEILING_SECONDS)
    rate, latencies = answered.per_second, answered.latencies
    bench.figures.add(
        name,
        f"{rate:.0f}/s, {milliseconds(latencies)} (the load generator takes "
        f"{answered.cpu_seconds / len(latencies) * 1e6:.0f} µs for each, and can {at_most.per_second:.0f}/s)",
        per_second=rate,
        p50_ms=percentile(latencies, 0.5) * 1e3,
    )
