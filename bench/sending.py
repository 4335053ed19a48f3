"""Sending messages: how many, and how long each takes."""

from __future__ import annotations

import time
from collections.abc import Iterator

import trio

from bench.accounts import User
from bench.asking import ask
from bench.connection import Connection
from bench.figures import milliseconds, percentile
from bench.scenario import TEXT, Bench


async def send_until(
    bench: Bench, user: User, room_id: str, end: float, latencies: list[float], ready: trio.Event | None = None
) -> None:
    async with bench.connection(user) as connection:
        if ready is not None:
            await ready.wait()
        while (started := time.perf_counter()) < end:
            await connection.call_raw("PUT", bench.send_path(room_id), TEXT)
            latencies.append(time.perf_counter() - started)


def sends_of(bench: Bench, user: User, room_id: str) -> Iterator[bytes]:
    """Give requests that send messages to a room, each another one."""
    connection = bench.connection(user)
    while True:
        yield connection.request("PUT", bench.send_path(room_id), TEXT)


async def _rate(bench: Bench, name: str, senders: list[tuple[User, str]]) -> int:
    """Measure how many are sent in a second; return how many were sent."""
    requests = [sends_of(bench, user, room_id) for user, room_id in senders]
    answered = await trio.to_thread.run_sync(ask, bench.base_url, requests, bench.seconds)
    rate, latencies = answered.per_second, answered.latencies
    bench.figures.add(
        name,
        f"{rate:.0f}/s, {milliseconds(latencies)}",
        per_second=rate,
        p50_ms=percentile(latencies, 0.5) * 1e3,
    )
    return len(latencies)


async def sends(bench: Bench) -> None:
    """Measure messages per second: one sender, 32 in one room, 50 rooms with one each."""
    room_id = await bench.room(bench.users[:32])
    rooms = [(user, await bench.room([user])) for user in bench.users[:50]]
    before = await bench.server.used() if bench.server else None
    count = await _rate(bench, "sends, one after another", [(bench.users[0], room_id)])
    count += await _rate(bench, "sends, 32 senders in one room", [(user, room_id) for user in bench.users[:32]])
    count += await _rate(bench, "sends, 50 rooms", rooms)
    if bench.server and before:
        used = (await bench.server.used()).since(before)
        for name, seconds in {
            "server": used.server,
            "PostgreSQL": used.postgres,
            "server and PostgreSQL": used.server + used.postgres,
        }.items():
            bench.figures.add(f"CPU per send, {name}", f"{seconds / count * 1e3:.3g} ms", ms=seconds / count * 1e3)
        each = used.database_bytes / count
        bench.figures.add("bytes in the database per message", f"{each:,.0f}", bytes=each)


async def latency(bench: Bench) -> None:
    """Measure how long a send takes at 20 and at 100 a second."""
    rooms = [(user, await bench.room([user])) for user in bench.users[:50]]
    for per_second in (20, 100):
        latencies: list[float] = []

        async def one(turn: trio.Lock, connection: Connection, room_id: str, into: list[float] = latencies) -> None:
            started = time.perf_counter()
            # Who cannot keep up makes messages wait, and that is part of how long they take.
            async with turn:
                await connection.call_raw("PUT", bench.send_path(room_id), TEXT)
            into.append(time.perf_counter() - started)

        connections = [await bench.connection(user).__aenter__() for user, _ in rooms]
        turns = [trio.Lock() for _ in rooms]
        async with trio.open_nursery() as nursery:
            for number in range(int(per_second * bench.seconds)):
                nursery.start_soon(one, turns[number % 50], connections[number % 50], rooms[number % 50][1])
                await trio.sleep(1 / per_second)
        for connection in connections:
            await connection.__aexit__(None, None, None)
        bench.figures.add(
            f"send latency at {per_second}/s", milliseconds(latencies), p50_ms=percentile(latencies, 0.5) * 1e3
        )
