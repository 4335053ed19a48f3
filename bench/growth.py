"""Show how the cost of a send grows: with rooms, members, events in the database, and clients that wait.

    python -m bench.growth [--largest 1.0] [--only rooms …] [--json FILE] [--plot docs/growth.png]

Starts a homeserver of its own with an embedded PostgreSQL, as `tricord serve` does, makes everything ten times larger
step by step, and measures sends at 20 a second at each step; fewer where many clients are told of each, since beyond
what a machine can do, the time tells how long one measured, and nothing else. `--plot` needs matplotlib;
`--from FILE` draws what earlier runs have written.
"""

from __future__ import annotations

import argparse
import json
import resource
import secrets
import tempfile
import time
from collections.abc import Awaitable, Callable, Collection
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import quote

import trio

from bench import accounts
from bench.accounts import User
from bench.connection import Connection
from bench.figures import Figures, cpu_seconds, milliseconds, percentile
from bench.follower import LAZY_SYNC
from bench.homeservers import SECRET, Homeserver, tricord
from bench.scenario import TEXT, Bench

_PER_SECOND, _MEASURED = 20, 200
_TOLD_PER_SECOND, _FEWEST_MEASURED = 2_000, 30
_AT_ONCE = 8
_OPEN_FILES = 16_384
_CALM = 0.05  # of a second's CPU

STEPS: dict[str, list[int]] = {
    "rooms": [10, 100, 1_000, 10_000],
    "members of the room": [10, 100, 1_000, 10_000, 20_000],
    "clients that wait, in other rooms": [10, 100, 1_000, 5_000],
    "clients that wait, in the room": [10, 100, 1_000, 5_000],
    "events in the database": [10_000, 100_000, 1_000_000],
}

Point = dict[str, float]


class Growing:
    """A homeserver that is given more and more to keep."""

    def __init__(self, server: Homeserver, largest: float) -> None:
        self._pid = server.pid
        self._largest = largest
        self._bench = Bench(server.url, SECRET, Figures(), secrets.token_hex(3), 0)
        self._rooms: list[tuple[User, str]] = []
        self._events = 0
        self._crowded, self._members = "", 0
        self.lines: dict[str, list[Point]] = {}

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
        for size in STEPS[line]:
            size = max(2, int(size * self._largest))
            await self._measure(line, size, await until(size))

    async def _measure(self, line: str, size: int, rooms: list[tuple[User, str]], told: int = 1) -> None:
        """Send into some rooms at a steady pace; so many clients are told of each message."""
        rooms = rooms[:: max(1, len(rooms) // _AT_ONCE)][:_AT_ONCE]
        per_second = min(_PER_SECOND, _TOLD_PER_SECOND / told)
        measured = max(_FEWEST_MEASURED, round(_MEASURED * per_second / _PER_SECOND))
        await self._until_calm()
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
        self.lines.setdefault(line, []).append(point | {"cpu_ms": used})
        print(f"{size:>9,} {line:<36} {milliseconds(times)}, {used:.1f} ms of the server's CPU each", flush=True)

    async def _until_calm(self) -> None:
        """Let the server finish what it does behind its answers: the index of the search, for one."""
        used = cpu_seconds(self._pid)
        while True:
            await trio.sleep(1)
            if cpu_seconds(self._pid) - used < _CALM:
                return
            used = cpu_seconds(self._pid)

    async def _until_rooms(self, size: int) -> list[tuple[User, str]]:
        async def make(user: User, count: int) -> None:
            async with self._bench.connection(user) as connection:
                for _ in range(count):
                    answer = await connection.call("POST", "/_matrix/client/v3/createRoom", {"preset": "public_chat"})
                    self._rooms.append((user, answer["room_id"]))

        users, wanted = self._bench.users, size - len(self._rooms)
        async with trio.open_nursery() as nursery:
            for number in range(_AT_ONCE):
                nursery.start_soon(make, users[number], (wanted + number) // _AT_ONCE)
        return self._rooms

    async def _until_members(self, size: int) -> list[tuple[User, str]]:
        if not self._crowded:
            self._crowded = await self._open_to_guests()
            self._members = 1
        self._members += len(await self._guests_of(self._crowded, size - self._members))
        return [(self._bench.users[0], self._crowded)]

    async def _until_events(self, size: int) -> list[tuple[User, str]]:
        rooms = [(user, await self._bench.room([user])) for user in self._bench.users]

        async def send(user: User, room_id: str, count: int) -> None:
            async with self._bench.connection(user) as connection:
                for _ in range(count):
                    await connection.call_raw("PUT", self._bench.send_path(room_id), TEXT)

        each = max(0, size - self._events) // len(rooms)
        async with trio.open_nursery() as nursery:
            for user, room_id in rooms:
                nursery.start_soon(send, user, room_id, each)
        self._events += each * len(rooms)
        return rooms

    async def _waiting(self, line: str) -> None:
        owner = self._bench.users[0]
        room_id = await self._open_to_guests()
        is_told = line.endswith("in the room")
        measured = room_id if is_told else await self._bench.room([owner])
        async with trio.open_nursery() as nursery:
            waiting = 0
            for size in STEPS[line]:
                size = max(2, int(size * self._largest))
                guests = await self._guests_of(room_id, size - waiting)
                for guest in guests:
                    # One after another: that many initial syncs at once are not what is measured.
                    await nursery.start(self._wait, guest)
                waiting = size
                await self._measure(line, size, [(owner, measured)], told=size if is_told else 1)
            nursery.cancel_scope.cancel()

    async def _wait(self, user: User, task_status: trio.TaskStatus[None]) -> None:
        since, told = "", False
        async with self._bench.connection(user) as connection:
            while True:
                query = f"&timeout=30000&since={quote(since)}" if since else "&timeout=0"
                since = (await connection.call("GET", LAZY_SYNC + query))["next_batch"]
                if not told:
                    told = True
                    task_status.started()

    async def _open_to_guests(self) -> str:
        open_to_guests = {"type": "m.room.guest_access", "content": {"guest_access": "can_join"}}
        async with self._bench.connection(self._bench.users[0]) as owner:
            answer = await owner.call(
                "POST",
                "/_matrix/client/v3/createRoom",
                {"preset": "public_chat", "initial_state": [open_to_guests]},
            )
        room_id: str = answer["room_id"]
        return room_id

    async def _guests_of(self, room_id: str, count: int) -> list[User]:
        """Let guests join, who cost no password to be hashed."""
        guests: list[User] = []

        async def some(number: int) -> None:
            for _ in range(number):
                async with Connection(self._bench.base_url) as connection:
                    answer = await connection.call("POST", "/_matrix/client/v3/register?kind=guest", {})
                guest = User(answer["user_id"], answer["access_token"])
                async with self._bench.connection(guest) as connection:
                    await connection.call("POST", f"/_matrix/client/v3/join/{quote(room_id)}", {})
                guests.append(guest)

        async with trio.open_nursery() as nursery:
            for number in range(_AT_ONCE):
                nursery.start_soon(some, (count + number) // _AT_ONCE)
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


async def measure(options: argparse.Namespace) -> dict[str, list[Point]]:
    """Start a homeserver and let it grow."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, _OPEN_FILES), hard))
    async with tricord(options.folder / "tricord", options.port) as server:
        growing = Growing(server, options.largest)
        await growing.run(options.only)
        return growing.lines


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--largest", type=float, default=1.0, help="a share of all sizes, to try it out")
    parser.add_argument("--only", nargs="+", choices=STEPS, default=list(STEPS), metavar="LINE", help="only some lines")
    parser.add_argument("--port", type=int, default=8118)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument(
        "--from", dest="earlier", type=Path, nargs="+", help="measure nothing; draw what is in these files"
    )
    parser.add_argument("--plot", type=Path, help="draw the figures into this file")
    options = parser.parse_args()
    if options.earlier:
        lines = {line: points for file in options.earlier for line, points in json.loads(file.read_text()).items()}
    else:
        with tempfile.TemporaryDirectory(prefix="tricord-bench-") as folder:
            options.folder = Path(folder)
            # PostgreSQL may run as somebody else.
            options.folder.chmod(0o755)
            lines = trio.run(measure, options)
    if options.json:
        options.json.write_text(json.dumps(lines, indent=1) + "\n")
    if options.plot:
        draw(lines, options.plot)


if __name__ == "__main__":
    main()
