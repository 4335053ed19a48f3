"""What an operation costs one process, and what it costs several: processor time and wake-ups, counted in turns.

    chrt -r 5 python -m bench.costs [--processes 2] [--only lone,room,rooms,sync,messages,members]

Unlike rates, this says something on a machine that has other work: what is counted is of our own processes. `chrt`
lets them go before all others. Printed is the median of the rounds, and how many times as many several processes do:
the mean of the rounds, with its standard error. Who is the first in one is the second in the next. Rounds are long
enough to hold what is done behind the answers: in those of a second, the index of the search would be written between
them, and cost nothing.
"""

from __future__ import annotations

import argparse
import itertools
import secrets
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import trio

from bench import accounts
from bench.accounts import User
from bench.asking import ask
from bench.figures import Figures, family_of
from bench.homeservers import SECRET, Homeserver, tricord, working_folder
from bench.scenario import TEXT, Bench
from bench.sending import sends_of

_MESSAGES = 200
ALL = ("lone", "room", "rooms", "sync", "messages", "members")


@dataclass
class Cost:
    """What an operation took."""

    per_second: float
    server_us: float
    """Of all processes of the server."""
    wakes: float
    """How often one of them was woken."""
    postgres_us: float
    generator_us: float


class Side:
    """A server, with people and rooms."""

    def __init__(self, server: Homeserver, seconds: float) -> None:
        self.server = server
        self.costs: dict[str, list[Cost]] = {}
        self._bench = Bench(server.url, SECRET, Figures(), secrets.token_hex(3), seconds)
        self._room = ""
        self._rooms: list[tuple[User, str]] = []

    async def prepare(self) -> None:
        """Let people come, and one room hear something."""
        bench = self._bench
        bench.users = await accounts.register(bench.base_url, SECRET, 50)
        self._room = await bench.room(bench.users[:32])
        self._rooms = [(user, await bench.room([user])) for user in bench.users]
        async with bench.connection(bench.users[0]) as connection:
            for _ in range(_MESSAGES):
                await connection.call_raw("PUT", bench.send_path(self._room), TEXT)

    async def take(self, name: str) -> None:
        """Measure one operation."""
        requests = await self._requests(name)
        # What is done behind the answers of the turn before is not a cost of this one.
        await self.server.until_calm()
        before = self._used()
        answered = await trio.to_thread.run_sync(ask, self.server.url, requests, self._bench.seconds)
        server, wakes, postgres = (
            (after - one) / len(answered.latencies) for after, one in zip(self._used(), before, strict=True)
        )
        generator = answered.cpu_seconds / len(answered.latencies) * 1e6
        self.costs.setdefault(name, []).append(Cost(answered.per_second, server, wakes, postgres, generator))

    async def _requests(self, name: str) -> list[Iterator[bytes]]:
        bench = self._bench
        senders = [(user, self._room) for user in bench.users[:32]]
        if name in ("lone", "room", "rooms"):
            chosen = {"lone": senders[:1], "room": senders, "rooms": self._rooms}[name]
            return [sends_of(bench, user, room_id) for user, room_id in chosen]
        async with bench.connection(bench.users[0]) as connection:
            since = (await connection.call("GET", "/_matrix/client/v3/sync?timeout=0"))["next_batch"]
        room = f"/_matrix/client/v3/rooms/{quote(self._room)}"
        path = {
            "sync": f"/_matrix/client/v3/sync?timeout=0&since={quote(since)}",
            "messages": f"{room}/messages?dir=b&limit=50",
            "members": f"{room}/joined_members",
        }[name]
        return [itertools.repeat(bench.connection(user).request("GET", path)) for user, _ in senders]

    def _used(self) -> tuple[float, float, float]:
        """Return the microseconds and the wake-ups of the server, and the microseconds of PostgreSQL."""
        family = family_of(self.server.pid)
        wakes = sum(
            int(Path(f"/proc/{pid}/status").read_text().partition("\nvoluntary_ctxt_switches:")[2].split()[0])
            for pid in family
        )
        return sum(map(_us, family)), wakes, sum(map(_us, self.server.postgres_processes()))


def _us(pid: int) -> float:
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e3
    except (FileNotFoundError, ProcessLookupError):
        return 0.0


async def measure(options: argparse.Namespace) -> None:
    """Start both, and measure in turns."""
    async with (
        tricord(options.folder / "one", options.port) as one,
        tricord(options.folder / "several", options.port + 1, processes=options.processes) as several,
    ):
        sides = {"1": Side(one, options.seconds), f"{options.processes}": Side(several, options.seconds)}
        for side in sides.values():
            await side.prepare()
        print("| operation | processes | a second | of one process | server | wake-ups | PostgreSQL | load generator |")
        print("|---|---|---:|---:|---:|---:|---:|---:|")
        for name in options.only.split(","):
            for number in range(options.rounds):
                # What one has written goes to the disk while the other is measured.
                for side in list(sides.values())[:: -1 if number % 2 else 1]:
                    await side.take(name)
            alone = sides["1"].costs[name]
            for processes, side in sides.items():
                costs = side.costs[name]
                said = [statistics.median(vars(cost)[key] for cost in costs) for key in vars(costs[0])]
                ratio = "" if costs is alone else _ratio(costs, alone)
                print(
                    f"| {name} | {processes} | {said[0]:,.0f} | {ratio} | {said[1]:.0f} µs | {said[2]:.3f} "
                    f"| {said[3]:.0f} µs | {said[4]:.0f} µs |",
                    flush=True,
                )


def _ratio(costs: Sequence[Cost], alone: Sequence[Cost]) -> str:
    """Return how many times as many are done a second: the mean of the rounds, and its standard error."""
    ratios = [cost.per_second / one.per_second for cost, one in zip(costs, alone, strict=True)]
    error = statistics.stdev(ratios) / len(ratios) ** 0.5 if len(ratios) > 1 else 0
    return f"{statistics.mean(ratios):.2f} ± {error:.2f}"


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", default=",".join(ALL))
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=5, help="how long a round takes")
    parser.add_argument("--port", type=int, default=8128)
    options = parser.parse_args()
    with working_folder() as options.folder:
        trio.run(measure, options)


if __name__ == "__main__":
    main()
