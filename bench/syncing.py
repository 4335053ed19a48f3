"""Sync: delivery to those who wait, by HTTP and by WebSocket, and what a client asks that begins."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Callable
from urllib.parse import quote

import trio

from bench.accounts import User
from bench.figures import milliseconds, percentile
from bench.scenario import TEXT, Bench
from bench.sending import send_until
from bench.sockets import Sockets

_SOCKETS = 1_000
# From here on users are in very many rooms.
_ROOMED = 80
# How long deliveries are waited for that do not come.
_PATIENCE_SECONDS = 60
_QUIET_SECONDS = 1
_MESSAGE = b'"type":"m.room.message"'
_WINDOWS = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync"
_TWENTY = {
    "lists": {
        "all": {
            "ranges": [[0, 19]],
            "timeline_limit": 1,
            "required_state": [
                ["m.room.name", ""],
                ["m.room.encryption", ""],
                ["m.room.member", "$ME"],
                ["m.room.member", "$LAZY"],
                ["m.room.power_levels", ""],
            ],
            "filters": {"not_room_types": ["m.space"]},
        }
    },
    "extensions": {name: {"enabled": True} for name in ("account_data", "receipts", "typing")},
}
_NEXT_BATCH = re.compile(rb'"next_batch":"([^"]+)"')


async def sync(bench: Bench) -> None:
    """Measure delivery to clients that wait in /sync: latency at 2 messages a second, then a burst."""
    members = bench.users[:100]
    room_id = await bench.room(members)
    followers = _Followers(bench, members)
    latencies: list[float] = []
    async with trio.open_nursery() as nursery:
        for user in members:
            nursery.start_soon(followers.follow, user)
        await followers.everybody.wait()
        await trio.sleep(0.5)
        async with bench.connection(members[0]) as sender:
            for _ in range(int(2 * bench.seconds)):
                followers.arrivals.clear()
                started = time.perf_counter()
                await sender.call("PUT", bench.send_path(room_id), TEXT)
                await _until(lambda: len(followers.arrivals) >= len(members))
                latencies += [arrival - started for arrival in followers.arrivals]
                await trio.sleep(max(0.0, started + 0.5 - time.perf_counter()))
        bench.figures.add(
            "delivery to 100 waiting /sync", milliseconds(latencies), p50_ms=percentile(latencies, 0.5) * 1e3
        )
        followers.arrivals.clear()
        sent: list[float] = []
        started = time.perf_counter()
        async with trio.open_nursery() as senders:
            for user in members[:8]:
                senders.start_soon(send_until, bench, user, room_id, started + bench.seconds, sent)
        await _until(lambda: len(followers.arrivals) >= len(sent) * len(members))
        delivered = len(followers.arrivals)
        rate = delivered / (followers.arrivals[-1] - started)
        bench.figures.add(
            "burst to 100 waiting /sync",
            f"{rate:.0f} deliveries/s ({len(sent)} messages, {delivered} deliveries)",
            per_second=rate,
        )
        nursery.cancel_scope.cancel()


class _Followers:
    """Clients that wait in /sync. Answers are searched, not parsed, so that the generator is not what is measured."""

    def __init__(self, bench: Bench, users: list[User]) -> None:
        self._bench = bench
        self._missing = len(users)
        self.everybody = trio.Event()
        self.arrivals: list[float] = []

    async def follow(self, user: User) -> None:
        """Follow for ever."""
        async with self._bench.connection(user) as connection:
            answer = await connection.call_raw("GET", "/_matrix/client/v3/sync?timeout=0")
            self._missing -= 1
            if not self._missing:
                self.everybody.set()
            while True:
                found = _NEXT_BATCH.search(answer)
                assert found is not None
                since = quote(found[1].decode())
                answer = await connection.call_raw("GET", f"/_matrix/client/v3/sync?timeout=30000&since={since}")
                if count := answer.count(_MESSAGE):
                    self.arrivals.extend([time.perf_counter()] * count)


async def idle_sync(bench: Bench) -> None:
    """Measure a /sync that has nothing to say, and one event into it."""
    user = bench.users[0]
    room_id = await bench.room([user, bench.users[1]])
    async with bench.connection(user) as connection, bench.connection(bench.users[1]) as other:
        since = (await connection.call("GET", "/_matrix/client/v3/sync?timeout=0"))["next_batch"]
        idle, one_event = [], []
        for _ in range(200):
            started = time.perf_counter()
            await connection.call("GET", f"/_matrix/client/v3/sync?timeout=0&since={quote(since)}")
            idle.append(time.perf_counter() - started)
        for _ in range(100):
            await other.call_raw("PUT", bench.send_path(room_id), TEXT)
            started = time.perf_counter()
            answer = await connection.call("GET", f"/_matrix/client/v3/sync?timeout=0&since={quote(since)}")
            one_event.append(time.perf_counter() - started)
            since = answer["next_batch"]
    bench.figures.add("/sync with nothing new", milliseconds(idle), p50_ms=percentile(idle, 0.5) * 1e3)
    bench.figures.add("/sync with one event", milliseconds(one_event), p50_ms=percentile(one_event, 0.5) * 1e3)


async def initial_sync(bench: Bench) -> None:
    """Measure the first /sync of a user in 200 rooms."""
    user, friend = bench.users[_ROOMED : _ROOMED + 2]
    await bench.sharing(user, friend, bench.size(200))
    times = []
    async with bench.connection(user) as connection:
        for _ in range(5):
            # Each with a filter of its own: Synapse gives what it answered before, for two minutes.
            nobody = f"@{secrets.token_hex(8)}:nowhere"
            sync_filter = json.dumps({"room": {"timeline": {"not_senders": [nobody]}}})
            started = time.perf_counter()
            path = f"/_matrix/client/v3/sync?timeout=0&filter={quote(sync_filter)}"
            size = len(await connection.call_raw("GET", path))
            times.append(time.perf_counter() - started)
    bench.figures.add(
        "initial /sync, 200 rooms",
        f"{milliseconds(times)}, {size / 1e3:.0f} kB",
        p50_ms=percentile(times, 0.5) * 1e3,
    )


async def windows(bench: Bench) -> None:
    """Measure sliding sync: a window of 20 rooms out of 200, and one event into it."""
    user, friend = bench.users[_ROOMED : _ROOMED + 2]
    await _windows(bench, user, friend, 200)


async def many_windows(bench: Bench) -> None:
    """Measure the same out of 2,000."""
    user, friend = bench.users[_ROOMED + 2 : _ROOMED + 4]
    await _windows(bench, user, friend, 2_000)


async def _windows(bench: Bench, user: User, friend: User, count: int) -> None:
    room_id = await bench.sharing(user, friend, bench.size(count))
    async with bench.connection(user) as connection, bench.connection(friend) as other:
        begun, one_event = [], []
        for _ in range(20):
            started = time.perf_counter()
            answer = await connection.call("POST", _WINDOWS, _TWENTY)
            begun.append(time.perf_counter() - started)
        for _ in range(50):
            await other.call_raw("PUT", bench.send_path(room_id), TEXT)
            started = time.perf_counter()
            answer = await connection.call("POST", f"{_WINDOWS}?pos={quote(answer['pos'])}", _TWENTY)
            one_event.append(time.perf_counter() - started)
    bench.figures.add(
        f"window of 20 rooms out of {count:,}",
        f"first {milliseconds(begun[:1])}; then {milliseconds(begun[1:])}",
        p50_ms=percentile(begun[1:], 0.5) * 1e3,
    )
    bench.figures.add(
        f"one event into a window, {count:,} rooms", milliseconds(one_event), p50_ms=percentile(one_event, 0.5) * 1e3
    )


async def websocket(bench: Bench) -> None:
    """Measure delivery to 1,000 sockets in one room (of 100 users): latency at 2 messages a second, then a burst."""
    # Not those who are in thousands of rooms, each of which the first delta would hold.
    members = bench.users[:_ROOMED]
    room_id = await bench.room(members)
    wanted = bench.size(_SOCKETS)
    tokens = [members[number % len(members)].access_token for number in range(wanted)]
    sockets = await trio.to_thread.run_sync(Sockets, bench.base_url, tokens)
    sockets.start()
    # What was sent to their devices before comes to all ten sockets of each.
    await _until(lambda: time.perf_counter() - sockets.last_heard > _QUIET_SECONDS)
    latencies: list[float] = []
    async with bench.connection(members[0]) as sender:
        for _ in range(int(2 * bench.seconds)):
            sockets.deliveries.clear()
            started = time.perf_counter()
            await sender.call("PUT", bench.send_path(room_id), TEXT)
            await _until(lambda: len(sockets.deliveries) >= wanted)
            latencies += [arrival - started for arrival in sockets.deliveries]
            await trio.sleep(max(0.0, started + 0.5 - time.perf_counter()))
    bench.figures.add("delivery to 1,000 WebSockets", milliseconds(latencies), p50_ms=percentile(latencies, 0.5) * 1e3)
    sockets.deliveries.clear()
    sent: list[float] = []
    started = time.perf_counter()
    async with trio.open_nursery() as senders:
        for user in members[:8]:
            senders.start_soon(send_until, bench, user, room_id, started + bench.seconds, sent)
    await _until(lambda: len(sockets.deliveries) >= len(sent) * wanted)
    delivered = len(sockets.deliveries)
    took = sockets.deliveries[-1] - started
    bench.figures.add(
        "burst to 1,000 WebSockets",
        f"{delivered / took:.0f} deliveries/s ({len(sent)} messages, {delivered} deliveries)",
        per_second=delivered / took,
    )
    await trio.to_thread.run_sync(sockets.close)


async def _until(done: Callable[[], bool]) -> None:
    with trio.move_on_after(_PATIENCE_SECONDS):
        while not done():
            await trio.sleep(0.002)
