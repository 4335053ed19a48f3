"""Whether memory stays flat: a few hundred users do a little of everything for an hour.

    python -m bench.soak [--minutes 60] [--still 10] [--users 200] [--json FILE]

Each minute prints what the processes hold; the last lines, how that grew in the last half. In the last minutes
(`--still`) nobody writes what is kept, but all else goes on. Memory that grows then too is lost by requests; memory
that grows only before follows what is in the database, or fills caches.
"""

from __future__ import annotations

import argparse
import json
import random
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote

import trio

from bench import accounts
from bench.accounts import User
from bench.connection import Refused
from bench.figures import Figures, percentile
from bench.follower import LAZY_SYNC
from bench.homeservers import SECRET, tricord, working_folder
from bench.scenario import Bench
from bench.sockets import Sockets
from bench.town import ALL, Room, Town, Work

# Members of the rooms that are there from the beginning.
_SIZES = (2,) * 40 + (8,) * 30 + (40,) * 10
_SOCKETS = 30
_MOST_AT_ONCE = 50
# How long somebody follows before coming back as a new client.
_FOLLOWED_SECONDS = 300


@dataclass(frozen=True)
class Minute:
    """What was measured in a minute: memory and CPU time are of this minute, the counts are of all.

    Of the server's memory it is the median, since a password that is hashed takes 64 MiB for as long.
    """

    minute: int
    is_still: bool
    server_mib: float
    most_server_mib: float
    postgres_mib: float
    database_mib: float
    server_cpu_s: float
    postgres_cpu_s: float
    events: int
    requests: int
    failures: int


class Soak:
    """The work, and what is measured of it."""

    def __init__(self, town: Town, options: argparse.Namespace) -> None:
        self._town = town
        self._minutes: int = options.minutes
        self._still: int = options.still
        self._is_still = False
        self._at_once = trio.CapacityLimiter(_MOST_AT_ONCE)
        self.measured: list[Minute] = []

    async def run(self) -> None:
        """Work for so many minutes."""
        users = self._town.bench.users
        async with trio.open_nursery() as nursery:
            for number, user in enumerate(users[: len(users) // 2]):
                nursery.start_soon(self._follow, user, random.Random(number))
            tokens = [user.access_token for user in users[-_SOCKETS:]]
            sockets = await trio.to_thread.run_sync(Sockets, self._town.bench.base_url, tokens)
            sockets.start()
            for number, work in enumerate(ALL):
                nursery.start_soon(self._keep_doing, nursery, work, random.Random(-number))
            began = trio.current_time()
            cpu = self._town.server.cpu_seconds()
            for minute in range(1, self._minutes + 1):
                resident: list[float] = []
                while trio.current_time() < began + 60 * minute:
                    await trio.sleep(1)
                    resident.append(self._town.server.resident_mib())
                before, cpu = cpu, self._town.server.cpu_seconds()
                await self._measure(minute, resident, cpu[0] - before[0], cpu[1] - before[1])
                self._is_still = minute >= self._minutes - self._still
                sockets.deliveries.clear()
            nursery.cancel_scope.cancel()
        await trio.to_thread.run_sync(sockets.close)

    async def _keep_doing(self, nursery: trio.Nursery, work: Work, luck: random.Random) -> None:
        while True:
            await trio.sleep(luck.expovariate(work.per_second))
            # Where a server is slower than the work comes, it is left out: nothing may wait until others are still.
            if (work.writes and self._is_still) or self._at_once.available_tokens < 1:
                continue
            nursery.start_soon(self._do, work, luck)

    async def _do(self, work: Work, luck: random.Random) -> None:
        async with self._at_once:
            try:
                await work.act(self._town, luck)
            except (OSError, Refused) as error:
                # Somebody answers who has left meanwhile, or a message that is gone.
                self._town.counts["failures"] += 1
                if self._town.counts["failures"] <= 5:
                    print(f"{work.act.__name__}: {error}", flush=True)

    async def _follow(self, user: User, luck: random.Random) -> None:
        """Wait in /sync; now and then come back as a client that knows nothing."""
        await trio.sleep(luck.random() * 20)
        while True:
            with trio.move_on_after(luck.expovariate(1 / _FOLLOWED_SECONDS)):
                async with self._town.connection(user) as connection:
                    since = "&timeout=0"
                    while True:
                        self._town.counts["requests"] += 1
                        answered = await connection.call("GET", LAZY_SYNC + since)
                        since = f"&timeout=30000&since={quote(answered['next_batch'])}"

    async def _measure(self, minute: int, resident: Sequence[float], server_cpu: float, postgres_cpu: float) -> None:
        town = self._town
        measured = Minute(
            minute,
            self._is_still,
            percentile(resident, 0.5),
            max(resident),
            town.server.postgres_mib(),
            await town.server.database_bytes() / (1 << 20),
            server_cpu,
            postgres_cpu,
            *(town.counts[name] for name in ("events", "requests", "failures")),
        )
        self.measured.append(measured)
        print(
            f"{minute:>4}{' still' if measured.is_still else '      '}  server {measured.server_mib:6.1f} MiB"
            f" (at most {measured.most_server_mib:.0f})"
            f"  PostgreSQL {measured.postgres_mib:6.1f} MiB  database {measured.database_mib:6.1f} MiB"
            f"  CPU {server_cpu:5.1f} + {postgres_cpu:4.1f} s  {measured.events:>7,} events"
            f"  {measured.requests:>9,} requests  {measured.failures} refused",
            flush=True,
        )


def slope(minutes: Sequence[Minute], value: Callable[[Minute], float]) -> float:
    """Return by how much a value grows in an hour, by least squares."""
    if len(minutes) < 2:
        return 0.0
    times = [each.minute / 60 for each in minutes]
    values = [value(each) for each in minutes]
    time_mean, mean = sum(times) / len(times), sum(values) / len(values)
    above = sum((at - time_mean) * (each - mean) for at, each in zip(times, values, strict=True))
    return above / sum((at - time_mean) ** 2 for at in times)


def conclude(measured: Sequence[Minute]) -> None:
    """Print how memory grew."""
    busy = [each for each in measured if not each.is_still]
    still = [each for each in measured if each.is_still]
    for name, minutes in (("the last half of the work", busy[len(busy) // 2 :]), ("nothing kept", still)):
        if len(minutes) >= 2:
            print(
                f"{name}, {len(minutes)} minutes: server {slope(minutes, lambda each: each.server_mib):+.1f} MiB/h, "
                f"PostgreSQL {slope(minutes, lambda each: each.postgres_mib):+.1f} MiB/h; "
                f"{slope(minutes, lambda each: each.events):,.0f} events/h, "
                f"{slope(minutes, lambda each: each.requests):,.0f} requests/h"
            )


async def soaked(options: argparse.Namespace) -> list[Minute]:
    """Start a homeserver, fill it with users and rooms, and let them work."""
    async with tricord(options.folder / "tricord", options.port) as server:
        print(f"       idle    server {server.resident_mib():6.1f} MiB", flush=True)
        bench = Bench(server.url, SECRET, Figures(), secrets.token_hex(3), 0)
        bench.users = await accounts.register(server.url, SECRET, options.users)
        luck = random.Random(0)
        rooms: list[Room] = []
        started = time.perf_counter()
        for size in (*_SIZES, len(bench.users)):
            members = luck.sample(bench.users, min(size, len(bench.users)))
            rooms.append(Room(await bench.room(members), members))
        town = Town(server, bench, rooms)
        for room in rooms:
            await town.send(room.members[0], room, luck)
        print(
            f"{len(bench.users)} users in {len(rooms)} rooms ({time.perf_counter() - started:.0f} s)"
            f"  server {server.resident_mib():6.1f} MiB",
            flush=True,
        )
        soak = Soak(town, options)
        try:
            await soak.run()
        finally:
            conclude(soak.measured)
        return soak.measured


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--still", type=int, default=10, help="the last ones of them, in which nothing new is kept")
    parser.add_argument("--users", type=int, default=200)
    parser.add_argument("--port", type=int, default=8128)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    with working_folder() as options.folder:
        measured = trio.run(soaked, options)
    if options.json:
        options.json.write_text(json.dumps([asdict(each) for each in measured], indent=1) + "\n")


if __name__ == "__main__":
    main()
