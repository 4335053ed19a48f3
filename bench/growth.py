"""Show how the cost of a send grows: with rooms, members, events in the database, and clients that wait.

    python -m bench.growth [--largest 1.0] [--only rooms …] [--steps 5000 …] [--json FILE] [--plot docs/growth.png]

Starts a homeserver of its own with an embedded PostgreSQL, as `tricord serve` does, makes everything ten times larger
step by step, and measures sends at 20 a second at each step; fewer where many clients are told of each, since beyond
what a machine can do, the time tells how long one measured, and nothing else. Each step is written to `--json` as soon
as it is measured; with `--add`, to what an earlier run has written there. `--plot` needs matplotlib; `--from FILE`
draws what earlier runs have written.
"""

from __future__ import annotations

import argparse
import itertools
import json
import secrets
import time
from collections.abc import Awaitable, Callable, Collection, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import trio

from bench import accounts
from bench.accounts import User
from bench.figures import Figures, cpu_seconds, milliseconds, percentile, until_calm
from bench.follower import LAZY_SYNC
from bench.homeservers import SECRET, Homeserver, tricord, working_folder
from bench.progress import stage
from bench.scenario import TEXT, Bench
from bench.sockets import allow_many_connections

_PER_SECOND, _MEASURED = 20, 200
_TOLD_PER_SECOND, _FEWEST_MEASURED = 1_000, 30
_AT_ONCE = 8
_PATIENCE_SECONDS = 600
_SENDERS = 4  # in each of the rooms that events are sent to

STEPS: dict[str, list[int]] = {
    "rooms": [10, 100, 1_000, 10_000],
    "members of the room": [10, 100, 1_000, 10_000, 20_000],
    "clients that wait, in other rooms": [10, 100, 1_000, 5_000],
    "clients that wait, in the room": [10, 100, 1_000, 5_000],
    "events in the database": [10_000, 100_000, 1_000_000],
}

Point = dict[str, float]


@dataclass
class Growth:
    """What was measured: for each thing that grows its steps, the smallest first."""

    lines: dict[str, list[Point]]
    file: Path | None = None

    @classmethod
    def of(cls, files: Iterable[Path], to: Path | None) -> Growth:
        """Return what earlier runs have written; where they measured the same, what the later one did."""
        growth = cls({})
        for file in files:
            for line, points in json.loads(file.read_text()).items():
                for point in points:
                    growth.add(line, point)
        growth.file = to
        return growth

    def add(self, line: str, point: Point) -> None:
        """Note a step in the place of what was there of this size, and write all down."""
        others = [one for one in self.lines.get(line, []) if one["size"] != point["size"]]
        self.lines[line] = sorted([*others, point], key=lambda one: one["size"])
        self.lines = {line: self.lines[line] for line in STEPS if line in self.lines}
        if self.file:
            self.file.write_text(json.dumps(self.lines, indent=1) + "\n")


class Growing:
    """A homeserver that is given more and more to keep."""

    def __init__(self, server: Homeserver, largest: float, steps: Collection[int], file: Growth) -> None:
        self._pid = server.pid
        self._largest = largest
        self._steps = steps
        self._file = file
        self._bench = Bench(server.url, SECRET, Figures(), secrets.token_hex(3), 0)
        self._rooms: list[tuple[User, str]] = []
        self._sent: list[tuple[User, str]] = []
        self._events = 0
        self._crowded, self._members = "", 0

    async def run(self, lines: Collection[str]) -> None:
        """Take all the steps of some lines, in the order of `STEPS`."""
        self._bench.users = await accounts.register(self._bench.base_url, SECRET, 50)
        makers = {
            "rooms": self._until_rooms,
            "members of the room": self._until_members,
            "events in the database": self._until_events,
        }
        for line in STEPS:
            if line not in lines:
                continue
            if line in makers:
                await self._take(line, makers[line])
            else:
                await self._waiting(line)

    async def _take(self, line: str, until: Callable[[int], Awaitable[list[tuple[User, str]]]]) -> None:
        for size in self._sizes(line):
            await self._measure(line, size, await until(size))

    def _sizes(self, line: str) -> list[int]:
        wanted = [size for size in STEPS[line] if not self._steps or size in self._steps]
        return list(dict.fromkeys(max(2, int(size * self._largest)) for size in wanted))

    async def _measure(self, line: str, size: int, rooms: list[tuple[User, str]], told: int = 1) -> None:
        """Send into some rooms at a steady pace; so many clients are told of each message."""
        rooms = rooms[:: max(1, len(rooms) // _AT_ONCE)][:_AT_ONCE]
        per_second = min(_PER_SECOND, _TOLD_PER_SECOND / told)
        measured = max(_FEWEST_MEASURED, round(_MEASURED * per_second / _PER_SECOND))
        await until_calm(lambda: cpu_seconds(self._pid), _PATIENCE_SECONDS)
        times: list[float] = []
        cpu = cpu_seconds(self._pid)
        async with AsyncExitStack() as stack, trio.open_nursery() as nursery:
            turns = [(await stack.enter_async_context(self._bench.connection(user)), room) for user, room in rooms]
            free = [trio.Lock() for _ in turns]

            async def one(number: int) -> None:
                connection, room_id = turns[number]
                async with free[number]:
                    started = time.perf_counter()
                    await connection.call_raw("PUT", self._bench.send_path(room_id), TEXT)
                    times.append(time.perf_counter() - started)

            for count in range(measured):
                nursery.start_soon(one, count % len(turns))
                await trio.sleep(1 / per_second)
        used = (cpu_seconds(self._pid) - cpu) / measured * 1e3
        self._events += measured
        point = {"size": size, "p50_ms": percentile(times, 0.5) * 1e3, "p99_ms": percentile(times, 0.99) * 1e3}
        self._file.add(line, point | {"cpu_ms": used})
        print(f"{size:>9,} {line:<36} {milliseconds(times)}, {used:.1f} ms of the server's CPU each", flush=True)

    async def _until_rooms(self, size: int) -> list[tuple[User, str]]:
        wanted = size - len(self._rooms)
        numbers = iter(range(wanted))

        async def make(user: User) -> None:
            async with self._bench.connection(user) as connection:
                for _ in numbers:
                    answer = await connection.call("POST", "/_matrix/client/v3/createRoom", {"preset": "public_chat"})
                    self._rooms.append((user, answer["room_id"]))
                    step()

        async with stage("rooms", wanted, self._pid) as step, trio.open_nursery() as nursery:
            for user in self._bench.users[:_AT_ONCE]:
                nursery.start_soon(make, user)
        return self._rooms

    async def _until_members(self, size: int) -> list[tuple[User, str]]:
        owner = self._bench.users[0]
        if not self._crowded:
            self._crowded, self._members = await self._bench.open_to_guests(owner), 1
        self._members += len(await self._guests_in(self._crowded, size - self._members))
        return [(owner, self._crowded)]

    async def _until_events(self, size: int) -> list[tuple[User, str]]:
        if not self._sent:
            self._sent = [(user, await self._bench.room([user])) for user in self._bench.users]
        wanted = max(0, size - self._events)
        numbers = iter(range(wanted))

        async def send(user: User, room_id: str) -> None:
            async with self._bench.connection(user) as connection:
                for _ in numbers:
                    await connection.call_raw("PUT", self._bench.send_path(room_id), TEXT)
                    step()

        async with stage("events", wanted, self._pid) as step, trio.open_nursery() as nursery:
            # The more are sent at once, the more are written by one commit.
            for user, room_id in self._sent * _SENDERS:
                nursery.start_soon(send, user, room_id)
        self._events += wanted
        return self._sent

    async def _waiting(self, line: str) -> None:
        owner = self._bench.users[0]
        room_id = await self._bench.open_to_guests(owner)
        is_told = line.endswith("in the room")
        measured = room_id if is_told else await self._bench.room([owner])
        sizes = self._sizes(line)
        # All are in the room before anybody waits: only who waits becomes more, and nobody is told of joins.
        guests = iter(await self._guests_in(room_id, max(sizes, default=0)))
        waiting = 0
        async with trio.open_nursery() as nursery:
            for size in sizes:
                async with stage("clients that wait", size - waiting, self._pid) as step:
                    # One after another: that many initial syncs at once are not what is measured.
                    for guest in itertools.islice(guests, size - waiting):
                        await nursery.start(self._wait, guest)
                        step()
                waiting = size
                await self._measure(line, size, [(owner, measured)], told=size if is_told else 1)
            nursery.cancel_scope.cancel()

    async def _wait(self, user: User, task_status: trio.TaskStatus[None]) -> None:
        since, told = "", False
        async with self._bench.connection(user) as connection:
            while True:
                # Nobody is told of who else has come, and few of those who wait come back in a second.
                query = "&set_presence=offline"
                query += f"&timeout=300000&since={quote(since)}" if since else "&timeout=0"
                since = (await connection.call("GET", LAZY_SYNC + query))["next_batch"]
                if not told:
                    told = True
                    task_status.started()

    async def _guests_in(self, room_id: str, count: int) -> list[User]:
        """Let guests join."""
        async with stage("guests", count, self._pid) as step:
            guests = await accounts.guests(self._bench.base_url, count, on_each=step)
        async with stage("in the room", count, self._pid) as step:
            await self._bench.move(room_id, guests, at_once=_AT_ONCE, on_each=step)
        return guests


def draw(lines: dict[str, list[Point]], file: Path) -> None:
    """Draw a line for each thing that grows."""
    import matplotlib.pyplot as plt

    figure, fields = plt.subplots(1, len(lines), figsize=(4 * len(lines), 3.4), sharey=True, layout="constrained")
    for field, (line, points) in zip(fields, lines.items(), strict=True):
        sizes = [point["size"] for point in points]
        for key, name, style in (("p50_ms", "p50", "o-"), ("p99_ms", "p99", "o--"), ("cpu_ms", "server's CPU", "s:")):
            field.plot(sizes, [point[key] for point in points], style, label=name)
        field.set(xscale="log", yscale="log", xlabel=line)
        field.grid(visible=True, alpha=0.3)
    fields[0].set_ylabel("milliseconds a send")
    fields[0].legend()
    figure.savefig(file, dpi=110)


async def measure(options: argparse.Namespace, growth: Growth) -> None:
    """Start a homeserver and let it grow."""
    allow_many_connections()
    async with tricord(options.folder / "tricord", options.port) as server:
        await Growing(server, options.largest, options.steps, growth).run(options.only)


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--largest", type=float, default=1.0, help="a share of all sizes, to try it out")
    parser.add_argument("--only", nargs="+", choices=STEPS, default=list(STEPS), metavar="LINE", help="only some lines")
    parser.add_argument(
        "--steps", type=int, nargs="+", default=[], metavar="SIZE", help="only these sizes of those that are usual"
    )
    parser.add_argument("--port", type=int, default=8118)
    parser.add_argument("--json", type=Path, help="write the figures to this file, after each step")
    parser.add_argument("--add", action="store_true", help="add to what is in that file")
    parser.add_argument(
        "--from", dest="earlier", type=Path, nargs="+", help="measure nothing; draw what is in these files"
    )
    parser.add_argument("--plot", type=Path, help="draw the figures into this file")
    options = parser.parse_args()
    if options.earlier:
        growth = Growth.of(options.earlier, None)
    else:
        growth = Growth.of([options.json] if options.add else [], options.json)
        with working_folder() as options.folder:
            trio.run(measure, options, growth)
    if options.plot:
        draw(growth.lines, options.plot)


if __name__ == "__main__":
    main()
