"""What `bench.load` measures."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from urllib.parse import quote

import trio

from bench.accounts import User
from bench.connection import Connection, Refused
from bench.figures import Figures, milliseconds, percentile
from bench.sockets import Sockets

TEXT = {"msgtype": "m.text", "body": "The quick brown fox jumps over the lazy dog, and the dog does not mind at all."}


_SOCKETS = 1_000
# How long deliveries are waited for that do not come.
_PATIENCE_SECONDS = 60


@dataclass
class Bench:
    """What every scenario needs."""

    base_url: str
    shared_secret: str
    figures: Figures
    run: str
    seconds: float
    users: list[User] = field(default_factory=list)
    _count: int = 0

    def connection(self, user: User) -> Connection:
        """Return a connection of a user, to be entered."""
        return Connection(self.base_url, user.access_token)

    def send_path(self, room_id: str) -> str:
        """Return the path of a new send."""
        self._count += 1
        return f"/_matrix/client/v3/rooms/{quote(room_id)}/send/m.room.message/{self.run}-{self._count}"

    async def room(self, members: list[User]) -> str:
        """Make a public room and let all members join."""
        async with self.connection(members[0]) as owner:
            room_id: str = (await owner.call("POST", "/_matrix/client/v3/createRoom", {"preset": "public_chat"}))[
                "room_id"
            ]
        for user in members[1:]:
            async with self.connection(user) as connection:
                await connection.call("POST", f"/_matrix/client/v3/join/{quote(room_id)}", {})
        return room_id


async def _send_until(
    bench: Bench, user: User, room_id: str, end: float, latencies: list[float], ready: trio.Event | None = None
) -> None:
    async with bench.connection(user) as connection:
        if ready is not None:
            await ready.wait()
        while (started := time.perf_counter()) < end:
            await connection.call_raw("PUT", bench.send_path(room_id), TEXT)
            latencies.append(time.perf_counter() - started)


async def _rate(bench: Bench, name: str, senders: list[tuple[User, str]]) -> None:
    latencies: list[float] = []
    started = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for user, room_id in senders:
            nursery.start_soon(_send_until, bench, user, room_id, started + bench.seconds, latencies)
    rate = len(latencies) / (time.perf_counter() - started)
    bench.figures.add(
        name, f"{rate:.0f}/s, {milliseconds(latencies)}", per_second=rate, p50_ms=percentile(latencies, 0.5) * 1e3
    )


async def sends(bench: Bench) -> None:
    """Measure messages per second: one sender, 32 in one room, 50 rooms with one each."""
    room_id = await bench.room(bench.users[:32])
    await _rate(bench, "sends, one after another", [(bench.users[0], room_id)])
    await _rate(bench, "sends, 32 senders in one room", [(user, room_id) for user in bench.users[:32]])
    rooms = [(user, await bench.room([user])) for user in bench.users[:50]]
    await _rate(bench, "sends, 50 rooms", rooms)


async def latency(bench: Bench) -> None:
    """Measure how long a send takes at 20 and at 100 a second."""
    rooms = [(user, await bench.room([user])) for user in bench.users[:50]]
    for per_second in (20, 100):
        latencies: list[float] = []

        async def one(connection: Connection, room_id: str, into: list[float] = latencies) -> None:
            started = time.perf_counter()
            await connection.call_raw("PUT", bench.send_path(room_id), TEXT)
            into.append(time.perf_counter() - started)

        connections = [await bench.connection(user).__aenter__() for user, _ in rooms]
        async with trio.open_nursery() as nursery:
            for number in range(int(per_second * bench.seconds)):
                nursery.start_soon(one, connections[number % 50], rooms[number % 50][1])
                await trio.sleep(1 / per_second)
        for connection in connections:
            await connection.__aexit__(None, None, None)
        bench.figures.add(
            f"send latency at {per_second}/s", milliseconds(latencies), p50_ms=percentile(latencies, 0.5) * 1e3
        )


async def sync(bench: Bench) -> None:
    """Measure delivery to clients that wait in /sync: latency at 2 messages a second, then a burst."""
    members = bench.users[:100]
    room_id = await bench.room(members)
    sent: dict[str, float] = {}
    latencies: list[float] = []
    delivered = 0
    waiting = 0
    everybody = trio.Event()

    async def follow(user: User) -> None:
        nonlocal delivered, waiting
        async with bench.connection(user) as connection:
            answer = await connection.call("GET", "/_matrix/client/v3/sync?timeout=0")
            waiting += 1
            if waiting == len(members):
                everybody.set()
            while True:
                since = quote(answer["next_batch"])
                answer = await connection.call("GET", f"/_matrix/client/v3/sync?timeout=30000&since={since}")
                now = time.perf_counter()
                room = answer.get("rooms", {}).get("join", {}).get(room_id, {})
                for event in room.get("timeline", {}).get("events", []):
                    if event["event_id"] in sent:
                        latencies.append(now - sent[event["event_id"]])
                    if event["type"] == "m.room.message":
                        delivered += 1

    async with trio.open_nursery() as nursery:
        for user in members:
            nursery.start_soon(follow, user)
        await everybody.wait()
        await trio.sleep(0.5)
        async with bench.connection(members[0]) as sender:
            for _ in range(int(2 * bench.seconds)):
                started = time.perf_counter()
                event_id = (await sender.call("PUT", bench.send_path(room_id), TEXT))["event_id"]
                sent[event_id] = started
                await trio.sleep(0.5)
        bench.figures.add(
            "delivery to 100 waiting /sync", milliseconds(latencies), p50_ms=percentile(latencies, 0.5) * 1e3
        )
        await trio.sleep(0.5)
        before: list[float] = []
        delivered, started = 0, time.perf_counter()
        async with trio.open_nursery() as senders:
            for user in members[:8]:
                senders.start_soon(_send_until, bench, user, room_id, started + bench.seconds, before)
        with trio.move_on_after(30):
            while delivered < len(before) * len(members):
                await trio.sleep(0.01)
        took = time.perf_counter() - started
        bench.figures.add(
            "burst to 100 waiting /sync",
            f"{delivered / took:.0f} deliveries/s ({len(before)} messages, {delivered} deliveries)",
            per_second=delivered / took,
        )
        nursery.cancel_scope.cancel()


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
    user, friend = bench.users[0], bench.users[1]
    for _ in range(200):
        room_id = await bench.room([user, friend])
        async with bench.connection(friend) as connection:
            await connection.call_raw("PUT", bench.send_path(room_id), TEXT)
    times = []
    async with bench.connection(user) as connection:
        for _ in range(5):
            started = time.perf_counter()
            size = len(await connection.call_raw("GET", "/_matrix/client/v3/sync?timeout=0"))
            times.append(time.perf_counter() - started)
    bench.figures.add(
        "initial /sync, 200 rooms and more",
        f"{milliseconds(times)}, {size / 1e3:.0f} kB",
        p50_ms=percentile(times, 0.5) * 1e3,
    )


async def websocket(bench: Bench) -> None:
    """Measure delivery to 1,000 sockets in one room (of 100 users): latency at 2 messages a second, then a burst."""
    members = bench.users[:100]
    room_id = await bench.room(members)
    tokens = [members[number % len(members)].access_token for number in range(_SOCKETS)]
    sockets = await trio.to_thread.run_sync(Sockets, bench.base_url, tokens)
    sockets.start()
    await trio.sleep(1)
    latencies: list[float] = []
    async with bench.connection(members[0]) as sender:
        for _ in range(int(2 * bench.seconds)):
            sockets.deliveries.clear()
            started = time.perf_counter()
            await sender.call("PUT", bench.send_path(room_id), TEXT)
            await _delivered(sockets, _SOCKETS)
            latencies += [arrival - started for arrival in sockets.deliveries]
            await trio.sleep(max(0.0, started + 0.5 - time.perf_counter()))
    bench.figures.add("delivery to 1,000 WebSockets", milliseconds(latencies), p50_ms=percentile(latencies, 0.5) * 1e3)
    sockets.deliveries.clear()
    sent: list[float] = []
    started = time.perf_counter()
    async with trio.open_nursery() as senders:
        for user in members[:8]:
            senders.start_soon(_send_until, bench, user, room_id, started + bench.seconds, sent)
    await _delivered(sockets, len(sent) * _SOCKETS)
    delivered = len(sockets.deliveries)
    took = sockets.deliveries[-1] - started
    bench.figures.add(
        "burst to 1,000 WebSockets",
        f"{delivered / took:.0f} deliveries/s ({len(sent)} messages, {delivered} deliveries)",
        per_second=delivered / took,
    )
    await trio.to_thread.run_sync(sockets.close)


async def _delivered(sockets: Sockets, count: int) -> None:
    with trio.move_on_after(_PATIENCE_SECONDS):
        while len(sockets.deliveries) < count:
            await trio.sleep(0.005)


ALL: dict[str, Callable[[Bench], Awaitable[None]]] = {
    "sends": sends,
    "latency": latency,
    "sync": sync,
    "idle_sync": idle_sync,
    "initial_sync": initial_sync,
    "websocket": websocket,
}
__all__ = ["ALL", "Bench", "Refused"]
