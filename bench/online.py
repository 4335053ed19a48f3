"""Many users who are online and do little: what they cost when nothing happens, and what typing and presence cost then.

    python -m bench.online [--users 5000] [--room 50] [--hall] [--seconds 20]

Every user waits in /sync and is in a room with some others; `--hall` adds one room that all are in. The server is a
process of its own, whose passwords cost next to nothing, since thousands of people are made.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import trio

from bench import accounts
from bench.accounts import User
from bench.connection import Connection
from bench.figures import Figures, cpu_seconds, milliseconds, percentile, resident_mib
from bench.homeservers import working_folder
from bench.progress import stage
from tests.servers import CHEAP, SHARED_SECRET, settings_for
from tricord.homeserver.app import open_homeserver
from tricord.homeserver.logs import configure_logs

_NEXT_BATCH = re.compile(rb'"next_batch":"([^"]+)"')
_TYPING = re.compile(rb'"user_ids":\[([^\]]+)\]')
_STATUS = re.compile(rb'"status_msg":"(away [0-9]+)"')
_AT_ONCE = 32
_EVERY_SECONDS = 0.1
_TYPING_MS = 5_000
# The last ones have just come online, and others hear of it, ten seconds later at the most; as they do of typing's end.
_CALM_SECONDS = 12


@dataclass
class _Phase:
    """What was done for a while, and who heard of it."""

    acts: int = 0
    answers: int = 0
    # When each was done, by what it is known by in an answer.
    begun: dict[str, tuple[int, float]] = field(default_factory=dict)
    heard: set[tuple[int, int]] = field(default_factory=set)
    latencies: list[float] = field(default_factory=list)

    def act(self, mark: str) -> None:
        """Note that something is done now."""
        self.begun[mark] = self.acts, time.perf_counter()
        self.acts += 1

    def hear(self, follower: int, marks: Iterable[str]) -> None:
        """Note what somebody heard, the first time that they do."""
        for mark in marks:
            if (begun := self.begun.get(mark)) is not None and (follower, begun[0]) not in self.heard:
                self.heard.add((follower, begun[0]))
                self.latencies.append(time.perf_counter() - begun[1])


class Online:
    """The users, and what each of them hears."""

    def __init__(self, url: str, pid: int, users: list[User], room_size: int, figures: Figures) -> None:
        self._url = url
        self._pid = pid
        self._users = users
        self._room_size = room_size
        self._figures = figures
        self._rooms: list[str] = []
        self._phase = _Phase()
        self._arriving = trio.CapacityLimiter(_AT_ONCE)

    async def settle(self, *, hall: bool) -> None:
        """Let everybody be in their rooms."""
        groups = [self._users[first : first + self._room_size] for first in range(0, len(self._users), self._room_size)]
        if hall:
            groups.append(self._users)
        for group in groups:
            async with Connection(self._url, group[0].access_token) as connection:
                made = await connection.call("POST", "/_matrix/client/v3/createRoom", {"preset": "public_chat"})
            self._rooms.append(made["room_id"])
        joins = [(user, room_id) for group, room_id in zip(groups, self._rooms, strict=True) for user in group[1:]]
        missing = iter(joins)
        async with stage("in their rooms", len(joins), self._pid) as step, trio.open_nursery() as nursery:

            async def join() -> None:
                for user, room_id in missing:
                    async with Connection(self._url, user.access_token) as connection:
                        await connection.call("POST", f"/_matrix/client/v3/join/{quote(room_id)}", {})
                    step()

            for _ in range(_AT_ONCE):
                nursery.start_soon(join)

    async def measure(self, seconds: float) -> None:
        """Let everybody wait, and measure what happens to them."""
        # A position is one of the whole server: who begins there need not be told first what was before.
        async with Connection(self._url, self._users[0].access_token) as connection:
            begin = quote((await connection.call("GET", "/_matrix/client/v3/sync?timeout=0"))["next_batch"])
        async with trio.open_nursery() as nursery:
            async with stage("online", len(self._users), self._pid) as step:
                everybody = trio.Event()
                waiting = 0

                def arrive() -> None:
                    nonlocal waiting
                    waiting += 1
                    step()
                    if waiting == len(self._users):
                        everybody.set()

                for number in range(len(self._users)):
                    nursery.start_soon(self._follow, number, begin, arrive)
                await everybody.wait()
            await trio.sleep(_CALM_SECONDS)
            self._figures.add("memory", f"{resident_mib(self._pid):.0f} MiB", mib=resident_mib(self._pid))
            await self._measure("idle", seconds, None)
            await self._measure("typing", seconds, self._type)
            await trio.sleep(_CALM_SECONDS)
            await self._measure("presence", seconds, self._change_presence)
            nursery.cancel_scope.cancel()

    async def _follow(self, number: int, begin: str, arrive: Callable[[], None]) -> None:
        async with self._arriving:
            connection = await Connection(self._url, self._users[number].access_token).__aenter__()
            answer = await connection.call_raw("GET", f"/_matrix/client/v3/sync?timeout=0&since={begin}")
        try:
            arrive()
            while True:
                found = _NEXT_BATCH.search(answer)
                assert found is not None
                since = quote(found[1].decode())
                answer = await connection.call_raw("GET", f"/_matrix/client/v3/sync?timeout=30000&since={since}")
                self._phase.answers += 1
                self._phase.hear(number, _marks(answer))
        finally:
            await connection.__aexit__(None, None, None)

    async def _measure(self, name: str, seconds: float, act: Callable[[int], Awaitable[None]] | None) -> None:
        self._phase = phase = _Phase()
        cpu, started = cpu_seconds(self._pid), time.perf_counter()
        while time.perf_counter() - started < seconds:
            if act is not None:
                await act(phase.acts)
            await trio.sleep(_EVERY_SECONDS)
        took = time.perf_counter() - started
        cpu = (cpu_seconds(self._pid) - cpu) / took
        words = f"{cpu * 100:.1f} % of a core, {phase.answers / took:.0f} answers/s"
        if phase.acts:
            words += f", {phase.acts / took:.1f}/s made, {len(phase.heard) / phase.acts:.0f} heard each"
        if phase.latencies:
            words += f", {milliseconds(phase.latencies)}"
        p50 = percentile(phase.latencies, 0.5) if phase.latencies else None
        self._figures.add(f"{len(self._users)} online, {name}", words, cpu=cpu, p50=p50)

    def _somebody(self, number: int) -> tuple[User, str]:
        """Return one after the other with their room, each in another room than the one before."""
        groups = -(-len(self._users) // self._room_size)
        chosen = (number % groups * self._room_size + number // groups) % len(self._users)
        return self._users[chosen], self._rooms[chosen // self._room_size]

    async def _type(self, number: int) -> None:
        user, room_id = self._somebody(number)
        async with Connection(self._url, user.access_token) as connection:
            path = f"/_matrix/client/v3/rooms/{quote(room_id)}/typing/{quote(user.user_id)}"
            self._phase.act(user.user_id)
            await connection.call("PUT", path, {"typing": True, "timeout": _TYPING_MS})

    async def _change_presence(self, number: int) -> None:
        user, _ = self._somebody(number)
        async with Connection(self._url, user.access_token) as connection:
            path = f"/_matrix/client/v3/presence/{quote(user.user_id)}/status"
            self._phase.act(f"away {number}")
            await connection.call("PUT", path, {"presence": "unavailable", "status_msg": f"away {number}"})


def _marks(answer: bytes) -> Iterator[str]:
    for typing in _TYPING.findall(answer):
        yield from typing.decode().strip('"').split('","')
    for status in _STATUS.findall(answer):
        yield status.decode()


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
    async with stage("registered", options.users, pid) as step:
        users = await accounts.register(url, SHARED_SECRET, options.users, at_once=_AT_ONCE, on_each=step)
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
    with working_folder() as folder, serving(folder) as (url, pid):
        trio.run(measure, options, url, pid)


if __name__ == "__main__":
    main()
