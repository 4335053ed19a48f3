r"""Measure what two homeservers do together, over their Client-Server APIs alone; the same command measures any others.

    python -m bench.federation [--only joins,latency,burst,outage] [--members 10,500,2000]
    python -m bench.federation --first URL --first-secret SECRET --second URL --second-secret SECRET \
        [--stop-second COMMAND --start-second COMMAND]
    python -m bench.federation --synapse-python /tmp/synapse/bin/python

Without URLs, two servers are started, each a process with a PostgreSQL of its own, and TLS between them. Servers that
run already must reach each other, have a registration secret, and no rate limits. With `--synapse-python`, two Synapses
are measured first, then ours, and a table compares them.
"""

from __future__ import annotations

import argparse
import secrets
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import trio

from bench.accounts import User
from bench.connection import Connection, Refused
from bench.figures import Figures, cpu_seconds, milliseconds, percentile
from bench.follower import LAZY_SYNC, Follower
from bench.two_servers import Side, found, started, started_synapses

_BODY = "The quick brown fox jumps over the lazy dog, and the dog does not mind at all."
_BUILDERS = 16
_PATIENCE_SECONDS = 120


@dataclass
class Bench:
    """What every scenario needs."""

    first: Side
    second: Side
    figures: Figures
    options: argparse.Namespace
    residents: list[User]
    """Users of the first server."""
    visitors: list[User]
    """Users of the second; each joins one room."""

    async def room(self, members: int) -> str:
        """Make a room on the first server, which anybody may join."""
        async with Connection(self.first.url, self.residents[0].access_token) as owner:
            made = await owner.call("POST", "/_matrix/client/v3/createRoom", {"preset": "public_chat"})
        room_id: str = made["room_id"]
        waiting = list(self.residents[1:members])

        async def let_in() -> None:
            while waiting:
                async with Connection(self.first.url, waiting.pop().access_token) as connection:
                    await connection.call("POST", f"/_matrix/client/v3/join/{quote(room_id)}", {})

        async with trio.open_nursery() as nursery:
            for _ in range(_BUILDERS):
                nursery.start_soon(let_in)
        return room_id

    async def say(self, room_id: str, count: int, speakers: Sequence[User]) -> dict[str, float]:
        """Send messages as fast as they are taken; return when each was begun."""
        sent: dict[str, float] = {}
        run, numbers = secrets.token_hex(4), iter(range(count))

        async def speak(user: User) -> None:
            async with Connection(self.first.url, user.access_token) as connection:
                for number in numbers:
                    begun = time.perf_counter()
                    sent[await send(connection, room_id, f"{run}-{number}")] = begun

        async with trio.open_nursery() as nursery:
            for user in speakers:
                nursery.start_soon(speak, user)
        return sent

    async def join(self, connection: Connection, room_id: str) -> None:
        """Let a user of the second server join through the first."""
        resident = quote(self.residents[0].user_id.partition(":")[2])
        path = f"/_matrix/client/v3/join/{quote(room_id)}?server_name={resident}&via={resident}"
        await connection.call("POST", path, {})

    @asynccontextmanager
    async def followed(self, room_id: str) -> Any:
        """Let a visitor join a room and follow it."""
        visitor = self.visitors.pop()
        async with Connection(self.second.url, visitor.access_token) as connection:
            await self.join(connection, room_id)
        follower = Follower(self.second.url, visitor, room_id)
        async with trio.open_nursery() as nursery:
            await nursery.start(follower.run)
            yield follower
            nursery.cancel_scope.cancel()


async def send(connection: Connection, room_id: str, transaction_id: str) -> str:
    """Send a message; return its id."""
    path = f"/_matrix/client/v3/rooms/{quote(room_id)}/send/m.room.message/{transaction_id}"
    event_id: str = (await connection.call("PUT", path, {"msgtype": "m.text", "body": _BODY}))["event_id"]
    return event_id


async def joins(bench: Bench) -> None:
    """Join rooms of several sizes: until the room is in the sync, a message is read, every member is listed."""
    for members in bench.options.members:
        rounds = []
        for _ in range(bench.options.rounds):
            room_id = await bench.room(members)
            await bench.say(room_id, bench.options.events, bench.residents[: min(_BUILDERS, members)])
            rounds.append(await _join(bench, room_id, members))
        words = ("answered", "in_sync", "message_read", "every_member")
        figures = {word: statistics.median(one[number] for one in rounds) for number, word in enumerate(words)}
        cpu = [statistics.median(one[number] for one in rounds) for number in (4, 5)]
        bench.figures.add(
            f"join of {members} members, {bench.options.events} events",
            ", ".join(f"{word.replace('_', ' ')} {value:.3f} s" for word, value in figures.items())
            + f" (CPU {cpu[0]:.2f} + {cpu[1]:.2f} s)",
            **figures,
        )


async def _join(bench: Bench, room_id: str, members: int) -> tuple[float, ...]:
    visitor = bench.visitors.pop()
    room = f"/_matrix/client/v3/rooms/{quote(room_id)}"
    times: list[float] = []
    async with (
        Connection(bench.second.url, visitor.access_token) as connection,
        Connection(bench.second.url, visitor.access_token) as syncing,
        Connection(bench.second.url, visitor.access_token) as reading,
    ):
        since = (await syncing.call("GET", f"{LAZY_SYNC}&timeout=0"))["next_batch"]
        cpu = [cpu_seconds(side.pid) if side.pid else 0.0 for side in (bench.first, bench.second)]
        begun = time.perf_counter()
        answered = in_sync = 0.0

        async def join() -> None:
            nonlocal answered
            await bench.join(connection, room_id)
            answered = time.perf_counter() - begun

        async def sync() -> None:
            nonlocal since, in_sync
            while not in_sync:
                answer = await syncing.call("GET", f"{LAZY_SYNC}&timeout=30000&since={quote(since)}")
                since = answer["next_batch"]
                if room_id in answer.get("rooms", {}).get("join", {}):
                    in_sync = time.perf_counter() - begun

        async with trio.open_nursery() as nursery:
            nursery.start_soon(join)
            nursery.start_soon(sync)
        read = every = 0.0

        async def read_message() -> None:
            nonlocal read
            while not read:
                page = await reading.call("GET", f"{room}/messages?dir=b&limit=20")
                if any(event["type"] == "m.room.message" for event in page["chunk"]):
                    read = time.perf_counter() - begun

        async def list_members() -> None:
            nonlocal every
            while not every:
                try:
                    joined = (await connection.call("GET", f"{room}/joined_members"))["joined"]
                except Refused:
                    joined = {}
                if len(joined) == members + 1:
                    every = time.perf_counter() - begun

        with trio.fail_after(_PATIENCE_SECONDS):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(read_message)
                nursery.start_soon(list_members)
        used = [cpu_seconds(side.pid) if side.pid else 0.0 for side in (bench.first, bench.second)]
        times = [answered, in_sync, read, every, used[0] - cpu[0], used[1] - cpu[1]]
    return tuple(times)


async def latency(bench: Bench) -> None:
    """Send at a steady pace; measure until a client of the other server has it."""
    room_id = await bench.room(2)
    async with bench.followed(room_id) as follower:
        begun: dict[str, float] = {}
        async with Connection(bench.first.url, bench.residents[0].access_token) as connection:
            for number in range(bench.options.deliveries):
                moment = time.perf_counter()
                begun[await send(connection, room_id, f"latency-{secrets.token_hex(4)}-{number}")] = moment
                await trio.sleep(max(0.0, moment + 1 / 20 - time.perf_counter()))
        await follower.until_here(set(begun), _PATIENCE_SECONDS)
        took = [follower.arrivals[event_id] - moment for event_id, moment in begun.items()]
    bench.figures.add("delivery to the other server at 20/s", milliseconds(took), p50_ms=percentile(took, 0.5) * 1e3)


async def burst(bench: Bench) -> None:
    """Send a burst; measure until a client of the other server has all of it."""
    room_id = await bench.room(_BUILDERS)
    async with bench.followed(room_id) as follower:
        begun = time.perf_counter()
        sent = await bench.say(room_id, bench.options.burst, bench.residents[:_BUILDERS])
        sending = time.perf_counter() - begun
        await _report(bench, f"burst of {len(sent)}", room_id, follower, sent, begun, f"sent in {sending:.2f} s, ")


async def outage(bench: Bench) -> None:
    """Send while the other server is away; measure from its first answer until a client of it has everything."""
    if bench.second.stop is None or bench.second.start is None:
        print("outage: left out, nobody told how to stop and start the second server")
        return
    room_id = await bench.room(_BUILDERS)
    async with bench.followed(room_id) as follower:
        await bench.second.stop()
        sent = await bench.say(room_id, bench.options.missed, bench.residents[:_BUILDERS])
        await trio.sleep(bench.options.away_seconds)
        await bench.second.start()
        begun = await bench.second.until_it_answers()
        await _report(bench, f"catching up with {len(sent)}", room_id, follower, sent, begun, "")


async def _report(
    bench: Bench, name: str, room_id: str, follower: Follower, sent: dict[str, float], begun: float, prefix: str
) -> None:
    seconds = await follower.until_here(set(sent), _PATIENCE_SECONDS) - begun
    missing = len(sent.keys() - follower.arrivals.keys())
    there = await follower.history(len(sent))
    here = await Follower(bench.first.url, bench.residents[0], room_id).history(len(sent))
    order = "in order" if there == here else f"in another order, {len(set(here) - set(there))} not in its history"
    bench.figures.add(
        name, f"{prefix}there after {seconds:.2f} s, {len(sent) / seconds:.0f}/s; {missing} missing, {order}",
        seconds=seconds, missing=missing, in_order=there == here,
    )  # fmt: skip


ALL = {"joins": joins, "latency": latency, "burst": burst, "outage": outage}


async def measure(options: argparse.Namespace) -> None:
    """Run the wanted scenarios one after another."""
    if options.first:
        first = found(options.first, options.first_secret, None, None)
        second = found(options.second, options.second_secret, options.stop_second, options.start_second)
        await _measure(options, first, second)
        return
    theirs = None
    if options.synapse_python:
        async with started_synapses(options.folder, options.synapse_python) as (first, second):
            theirs = await _measure(options, first, second)
    async with started(options.folder) as (first, second):
        ours = await _measure(options, first, second)
    if theirs is not None:
        print(_table(ours, theirs))


def _table(ours: Figures, theirs: Figures) -> str:
    lines = ["| | Synapse | Tricord | times as good |", "|---|---:|---:|---:|"]
    for row, values in ours.rows.items():
        for key, value in values.items():
            other = theirs.rows.get(row, {}).get(key)
            ratio = ""
            if isinstance(value, float) and isinstance(other, float) and value:
                ratio = f"{other / value:.1f}"
            lines.append(f"| {row}: {key.replace('_', ' ')} | {_said(other)} | {_said(value)} | {ratio} |")
    return "\n".join(lines)


def _said(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


async def _measure(options: argparse.Namespace, first: Side, second: Side) -> Figures:
    wanted = options.only.split(",") if options.only else list(ALL)
    residents = max(_BUILDERS, *options.members) if "joins" in wanted else _BUILDERS
    print(f"making {residents} users", file=sys.stderr)
    bench = Bench(first, second, Figures(), options, await first.users(residents), await second.users(20))
    for name in wanted:
        await ALL[name](bench)
    if options.json:
        bench.figures.write(options.json)
    return bench.figures


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", help="the address for clients of the server that has the rooms")
    parser.add_argument("--first-secret", default="")
    parser.add_argument("--second", help="that of the server that joins them")
    parser.add_argument("--second-secret", default="")
    parser.add_argument("--stop-second", help="a command")
    parser.add_argument("--start-second", help="a command that returns at once")
    parser.add_argument("--synapse-python", type=Path, help="a Python that has Synapse and psycopg2")
    parser.add_argument("--only", default="", help=f"some of: {', '.join(ALL)}")
    parser.add_argument(
        "--members", type=lambda text: [int(one) for one in text.split(",")], default=[10, 500, 2000],
        help="of the rooms to join",
    )  # fmt: skip
    parser.add_argument("--events", type=int, default=5000, help="in the rooms to join")
    parser.add_argument("--rounds", type=int, default=3, help="joins of each size; the median counts")
    parser.add_argument("--deliveries", type=int, default=200)
    parser.add_argument("--burst", type=int, default=2000)
    parser.add_argument("--missed", type=int, default=1000, help="messages sent while the second server is away")
    parser.add_argument("--away-seconds", type=float, default=5, help="how long it stays away after them")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    # Whoever ends it ends its servers, too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="tricord-bench-") as folder:
        options.folder = Path(folder)
        # PostgreSQL may run as somebody else.
        options.folder.chmod(0o755)
        trio.run(measure, options)


if __name__ == "__main__":
    main()
