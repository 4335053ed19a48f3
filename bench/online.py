"""Many users who are online and do little: what they cost when nothing happens, and what typing and presence cost then.

    python -m bench.online [--users 5000] [--room 50] [--hall] [--seconds 20]

Every user waits in /sync and is in a room with some others; `--hall` adds one room that all are in. The server is a
process of its own, whose passwords cost next to nothing, since thousands of people are made.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import trio

from bench import accounts
from bench.accounts import User
from bench.connection import Connection
from bench.figures import Figures, cpu_seconds, milliseconds, percentile, resident_mib
from tests.servers import CHEAP, SHARED_SECRET, settings_for
from tricord.homeserver.app import open_homeserver
from tricord.homeserver.logs import configure_logs

_NEXT_BATCH = re.compile(rb'"next_batch":"([^"]+)"')
_TYPING = b'"type":"m.typing"'
_PRESENCE = b'"type":"m.presence"'
_JOINS_AT_ONCE = 8
_ARRIVING_AT_ONCE = 20
_EVERY_SECONDS = 0.1


class Online:
    """The users, and what each of them hears."""

    def __init__(self, url: str, pid: int, users: list[User], room_size: int, figures: Figures) -> None:
        self._url = url
        self._pid = pid
        self._users = users
        self._room_size = room_size
        self._figures = figures
        self._rooms: list[str] = []
        self._waiting = 0
        self._mark = b""
        self._heard: list[float] = []
        self._answers = 0
        self._arriving = trio.CapacityLimiter(_ARRIVING_AT_ONCE)

    async def settle(self, *, hall: bool) -> None:
        """Let everybody be in their rooms."""
        groups = [self._users[first : first + self._room_size] for first in range(0, len(self._users), self._room_size)]
        if hall:
            groups.append(self._users)
        for group in groups:
            async with Connection(self._url, group[0].access_token) as connection:
                made = await connection.call("POST", "/_matrix/client/v3/createRoom", {"preset": "public_chat"})
            self._rooms.append(made["room_id"])
            others = iter(group[1:])

            async def join(others: Iterator[User] = others, room_id: str = made["room_id"]) -> None:
                for user in others:
                    async with Connection(self._url, user.access_token) as connection:
                        await connection.call("POST", f"/_matrix/client/v3/join/{quote(room_id)}", {})

            async with trio.open_nursery() as nursery:
                for _ in range(_JOINS_AT_ONCE):
                    nursery.start_soon(join)

    async def measure(self, seconds: float) -> None:
        """Let everybody wait, and measure what happens to them."""
        async with trio.open_nursery() as nursery:
            for user in self._users:
                nursery.start_soon(self._follow, user)
            while self._waiting < len(self._users):  # it takes minutes
                await trio.sleep(0.5)
            self._figures.add("memory", f"{resident_mib(self._pid):.0f} MiB", mib=resident_mib(self._pid))
            # The last ones have just come online, and others hear of it.
            await trio.sleep(30)
            await self._phase("idle", b"\0", seconds, None)
            await self._phase("typing", _TYPING, seconds, self._type)
            await self._phase("presence", _PRESENCE, seconds, self._change_presence)
            nursery.cancel_scope.cancel()

    async def _follow(self, user: User) -> None:
        async with contextlib.AsyncExitStack() as stack:
            async with self._arriving:
                connection = await stack.enter_async_context(Connection(self._url, user.access_token))
                answer = await connection.call_raw("GET", "/_matrix/client/v3/sync?timeout=0")
            self._waiting += 1
            while True:
                found = _NEXT_BATCH.search(answer)
                assert found is not None
                since = quote(found[1].decode())
                answer = await connection.call_raw("GET", f"/_matrix/client/v3/sync?timeout=30000&since={since}")
                self._answers += 1
                if self._mark in answer:
                    self._heard.append(time.perf_counter())

    async def _phase(
        self, name: str, mark: bytes, seconds: float, act: Callable[[int], Awaitable[None]] | None
    ) -> None:
        self._mark, self._heard, self._answers = mark, [], 0
        cpu, started = cpu_seconds(self._pid), time.perf_counter()
        latencies: list[float] = []
        acts = 0
        while (now := time.perf_counter()) - started < seconds:
            if act is not None:
                before = len(self._heard)
                await act(acts)
                acts += 1
                await trio.sleep(_EVERY_SECONDS)
                latencies += [each - now for each in self._heard[before:]]
            else:
                await trio.sleep(_EVERY_SECONDS)
        took = time.perf_counter() - started
        cpu = (cpu_seconds(self._pid) - cpu) / took
        words = f"{cpu * 100:.1f} % of a core, {self._answers / took:.0f} answers/s"
        if acts:
            words += f", {acts / took:.1f}/s made, {len(self._heard) / acts:.0f} heard each"
        if latencies:
            words += f", {milliseconds(latencies)}"
        p50 = percentile(latencies, 0.5) if latencies else None
        self._figures.add(f"{len(self._users)} online, {name}", words, cpu=cpu, p50=p50)

    def _somebody(self, number: int) -> User:
        """Return one after the other, each in another room than the one before."""
        groups = -(-len(self._users) // self._room_size)
        return self._users[(number % groups * self._room_size + number // groups) % len(self._users)]

    async def _type(self, number: int) -> None:
        user = self._somebody(number)
        room_id = self._rooms[self._users.index(user) // self._room_size]
        async with Connection(self._url, user.access_token) as connection:
            path = f"/_matrix/client/v3/rooms/{quote(room_id)}/typing/{quote(user.user_id)}"
            await connection.call("PUT", path, {"typing": True, "timeout": 30_000})

    async def _change_presence(self, number: int) -> None:
        user = self._somebody(number)
        async with Connection(self._url, user.access_token) as connection:
            path = f"/_matrix/client/v3/presence/{quote(user.user_id)}/status"
            await connection.call("PUT", path, {"presence": "unavailable", "status_msg": f"away {number}"})


async def serve(folder: Path) -> None:
    """Be the server."""
    settings = settings_for("", folder, log={"level": "error"})
    configure_logs(settings.log)
    async with open_homeserver(settings, password_cost=CHEAP) as homeserver:
        print(f"serves {homeserver.urls[0]}", flush=True)
        await trio.sleep_forever()


@contextmanager
def serving(folder: Path) -> Iterator[tuple[str, int]]:
    """Run the server, and give its URL and process."""
    command = [sys.executable, "-m", "bench.online", "--serve", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if line.startswith("serves "):
                    yield line.split()[1], process.pid
                    return
            raise SystemExit("the server does not start")
        finally:
            process.terminate()


async def measure(options: argparse.Namespace, url: str, pid: int) -> None:
    """Make everybody, and measure."""
    figures = Figures()
    users = await accounts.register(url, SHARED_SECRET, options.users)
    online = Online(url, pid, users, options.room, figures)
    await online.settle(hall=options.hall)
    await online.measure(options.seconds)
    if options.json:
        figures.write(options.json)


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=5000)
    parser.add_argument("--room", type=int, default=50, help="how many are in a room together")
    parser.add_argument("--hall", action="store_true", help="and all in one room")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.serve:
        trio.run(serve, options.serve)
        return
    with tempfile.TemporaryDirectory(prefix="tricord-bench-") as name:
        folder = Path(name)
        # PostgreSQL may run as somebody else.
        folder.chmod(0o755)
        with serving(folder) as (url, pid):
            trio.run(measure, options, url, pid)


if __name__ == "__main__":
    main()
