"""Large rooms and long ones: making rooms, joining them by the hundred, listing who is there, reading back."""

from __future__ import annotations

import time
from urllib.parse import quote

import trio

from bench import accounts
from bench.accounts import User
from bench.connection import Connection
from bench.figures import milliseconds, percentile
from bench.scenario import TEXT, Bench

LARGE = 2_000
_STORM, _EVENTS = 500, 10_000
_AT_ONCE = 8


async def create_rooms(bench: Bench) -> None:
    """Measure createRoom with a name, 8 at once."""
    end = time.perf_counter() + bench.seconds
    times: list[float] = []

    async def create(user: User) -> None:
        async with bench.connection(user) as connection:
            while (started := time.perf_counter()) < end:
                await connection.call("POST", "/_matrix/client/v3/createRoom", {"name": "A room"})
                times.append(time.perf_counter() - started)

    started = time.perf_counter()
    async with trio.open_nursery() as nursery:
        # Not those who are measured in the rooms of other scenarios.
        for user in bench.users[-_AT_ONCE:]:
            nursery.start_soon(create, user)
    rate = len(times) / (time.perf_counter() - started)
    bench.figures.add("createRoom, 8 at once", f"{rate:.0f}/s, {milliseconds(times)}", per_second=rate)


async def members(bench: Bench) -> None:
    """Measure joins of 2,000, the last 500 of them as a storm, and then how long it takes to list them."""
    owner = bench.users[0]
    if "members" not in bench.kept:
        bench.kept["members"] = await _crowded(bench, owner)
    async with bench.connection(owner) as connection:
        for name in ("members", "state", "joined_members"):
            path = f"/_matrix/client/v3/rooms/{quote(bench.kept['members'])}/{name}"
            await _time(bench, f"/{name} of {LARGE}", connection, path)


async def _crowded(bench: Bench, owner: User) -> str:
    """Make a room of 2,000, and measure how fast the last of them join."""
    extra = await accounts.register(bench.base_url, bench.shared_secret, LARGE - 1)
    room_id = await bench.room([owner])
    path = f"/_matrix/client/v3/join/{quote(room_id)}"

    async def join(users: list[User]) -> None:
        for user in users:
            async with bench.connection(user) as connection:
                await connection.call("POST", path, {})

    async def join_all(users: list[User], at_once: int) -> None:
        async with trio.open_nursery() as nursery:
            for number in range(at_once):
                nursery.start_soon(join, users[number::at_once])

    await join_all(extra[:-_STORM], _AT_ONCE)
    started = time.perf_counter()
    await join_all(extra[-_STORM:], 32)
    rate = _STORM / (time.perf_counter() - started)
    bench.figures.add(f"joins of {_STORM} to a room of {LARGE - _STORM}", f"{rate:.0f}/s", per_second=rate)
    return room_id


async def messages(bench: Bench) -> None:
    """Measure pages of 100 through the history of a room of 10,000 events."""
    if "messages" not in bench.kept:
        bench.kept["messages"] = await _long(bench)
    times, token = [], ""
    async with bench.connection(bench.users[0]) as connection:
        while True:
            path = f"/_matrix/client/v3/rooms/{quote(bench.kept['messages'])}/messages?dir=b&limit=100"
            started = time.perf_counter()
            page = await connection.call("GET", f"{path}&from={quote(token)}" if token else path)
            times.append(time.perf_counter() - started)
            token = page.get("end", "")
            if not token or not page["chunk"]:
                break
    bench.figures.add("/messages, pages of 100", milliseconds(times), p50_ms=percentile(times, 0.5) * 1e3)


async def _long(bench: Bench) -> str:
    """Make a room of 10,000 events."""
    room_id = await bench.room(bench.users[:32])

    async def send(user: User) -> None:
        async with bench.connection(user) as connection:
            for _ in range(_EVENTS // 32):
                await connection.call_raw("PUT", bench.send_path(room_id), TEXT)

    async with trio.open_nursery() as nursery:
        for user in bench.users[:32]:
            nursery.start_soon(send, user)
    return room_id


async def _time(bench: Bench, name: str, connection: Connection, path: str) -> None:
    times = []
    for _ in range(20):
        started = time.perf_counter()
        size = len(await connection.call_raw("GET", path))
        times.append(time.perf_counter() - started)
    bench.figures.add(name, f"{milliseconds(times)}, {size / 1e3:.0f} kB", p50_ms=percentile(times, 0.5) * 1e3)
