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

_LARGE = 2_000
_STORM, _EVENTS = 500, 10_000
# More than a hundred: Synapse writes down the whole state of a room after so many changes.
_COUNTED = 300
_AT_ONCE = 8
BYTES_PER_JOIN = "bytes in the database per join"


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
    """Measure joins of 500 to a room of 1,500, and then how long it takes to list all 2,000."""
    owner = bench.users[0]
    if "members" not in bench.kept:
        bench.kept["members"] = await bench.open_to_guests(owner)
        others = await accounts.guests(bench.base_url, bench.size(_LARGE - _STORM) - 1)
        await bench.move(bench.kept["members"], others, at_once=_AT_ONCE)
        bench.storm = await accounts.register(bench.base_url, bench.shared_secret, bench.size(_STORM))
    else:
        await bench.move(bench.kept["members"], bench.storm, at_once=_AT_ONCE, act="leave")
    started = time.perf_counter()
    await bench.move(bench.kept["members"], bench.storm, at_once=32)
    rate = len(bench.storm) / (time.perf_counter() - started)
    bench.figures.add(f"joins of {_STORM} to a room of {_LARGE - _STORM:,}", f"{rate:.0f}/s", per_second=rate)
    async with bench.connection(owner) as connection:
        for name in ("members", "state", "joined_members"):
            path = f"/_matrix/client/v3/rooms/{quote(bench.kept['members'])}/{name}"
            await _time(bench, f"/{name} of {_LARGE:,}", connection, path)


async def crowd(bench: Bench) -> None:
    """Measure the bytes that a join takes in the database, in a room with very many members."""
    if bench.server is None:
        return
    if "crowd" not in bench.kept:
        bench.kept["crowd"] = await bench.open_to_guests(bench.users[0])
        guests = await accounts.guests(bench.base_url, bench.size(bench.crowd) - 1)
        await bench.move(bench.kept["crowd"], guests, at_once=_AT_ONCE)
    joining = await accounts.register(bench.base_url, bench.shared_secret, bench.size(_COUNTED))
    await bench.server.vacuum()
    before = await bench.server.used()
    await bench.move(bench.kept["crowd"], joining, at_once=_AT_ONCE)
    await bench.server.vacuum()
    each = (await bench.server.used()).since(before).database_bytes / len(joining)
    bench.figures.add(BYTES_PER_JOIN, f"{each:,.0f}, in a room of {bench.crowd:,}", bytes=each, members=bench.crowd)


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
            for _ in range(bench.size(_EVENTS) // 32):
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
