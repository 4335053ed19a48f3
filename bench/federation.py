r"""What two homeservers do together, over their Client-Server APIs alone.

    python -m bench.federation --first URL --first-secret SECRET --second URL --second-secret SECRET \
        [--stop-second COMMAND --start-second COMMAND]

This measures servers that run already; `python -m bench --only remote_joins,…` starts two, and two Synapses beside
them. They must reach each other, have a registration secret, guests, and no rate limits.
"""

from __future__ import annotations

import argparse
import secrets
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import trio

from bench import accounts, scenario
from bench.accounts import User
from bench.connection import Connection, Refused
from bench.figures import Figures, milliseconds, percentile
from bench.follower import LAZY_SYNC, Follower
from bench.scenarios import chosen_of
from bench.two_servers import Side, found

_BODY = "The quick brown fox jumps over the lazy dog, and the dog does not mind at all."
_BUILDERS = 16
_VISITORS = 20
# How many members rooms have that are joined, and how many such rooms are, of which the median counts.
_JOINS = {10: 3, 500: 1, 2_000: 1}
# Messages: in the rooms that are joined, at a steady pace, in a burst, while the other server is away.
_EVENTS, _DELIVERIES, _BURST, _MISSED = 1_000, 200, 1_000, 1_000
_AWAY_SECONDS = 5
_PATIENCE_SECONDS = 120


@dataclass
class Bench:
    """What every scenario needs: two servers, and users of both."""

    first: Side
    second: Side
    figures: Figures
    share: float = 1.0
    """Of all sizes, to try a scenario out."""
    residents: list[User] = field(default_factory=list)
    """Users of the first server."""
    guests: list[User] = field(default_factory=list)
    """Those who fill its large rooms."""
    visitors: list[User] = field(default_factory=list)
    """Users of the second; each joins one room."""

    def size(self, nominal: int) -> int:
        """Return how many there are of what is so many in a whole run."""
        return max(2, round(nominal * self.share))

    async def room(self, members: int) -> str:
        """Make a room on the first server, which anybody may join."""
        if not self.residents:
            self.residents = await self.first.users(_BUILDERS)
        if len(self.guests) < members - _BUILDERS:
            self.guests += await accounts.guests(self.first.url, members - _BUILDERS - len(self.guests))
        # The same rooms as with one server.
        here = scenario.Bench(self.first.url, self.first.shared_secret, self.figures, "", 0)
        room_id = await here.open_to_guests(self.residents[0])
        await here.move(room_id, [*self.residents, *self.guests][1:members], at_once=_BUILDERS)
        return room_id

    async def visitor(self) -> User:
        """Return a user of the second server who is in no room."""
        if not self.visitors:
            self.visitors = await self.second.users(_VISITORS)
        return self.visitors.pop()

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
        visitor = await self.visitor()
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
    """Measure joins of rooms of 10, 500 and 2,000: until it is in the sync, a message is read, all are listed."""
    # The first join after a start has more to do, and is not what is measured.
    room_id = await bench.room(2)
    await bench.say(room_id, 1, bench.residents[:1])
    await _join(bench, room_id, 2)
    for nominal, times in _JOINS.items():
        joins = []
        for _ in range(times):
            members = bench.size(nominal)
            room_id = await bench.room(members)
            await bench.say(room_id, bench.size(_EVENTS), bench.residents[: min(_BUILDERS, members)])
            joins.append(await _join(bench, room_id, members))
        for name, seconds in {
            "answered": [one.answered for one in joins],
            "room in /sync": [one.in_sync for one in joins],
            "message read": [one.message_read for one in joins],
            "every member listed": [one.every_member for one in joins],
            "CPU of the first server": [one.first_cpu for one in joins],
            "CPU of the second server": [one.second_cpu for one in joins],
        }.items():
            median = statistics.median(seconds)
            bench.figures.add(f"remote join of {nominal:,}: {name}", f"{median:.3f} s", seconds=median)


@dataclass
class _Joined:
    """How many seconds after a join began."""

    answered: float = 0
    in_sync: float = 0
    message_read: float = 0
    every_member: float = 0
    first_cpu: float = 0
    second_cpu: float = 0


async def _join(bench: Bench, room_id: str, members: int) -> _Joined:
    visitor = await bench.visitor()
    room = f"/_matrix/client/v3/rooms/{quote(room_id)}"
    joined = _Joined()
    async with (
        Connection(bench.second.url, visitor.access_token) as connection,
        Connection(bench.second.url, visitor.access_token) as syncing,
        Connection(bench.second.url, visitor.access_token) as reading,
    ):
        since = (await syncing.call("GET", f"{LAZY_SYNC}&timeout=0"))["next_batch"]
        cpu = [side.cpu_seconds() for side in (bench.first, bench.second)]
        begun = time.perf_counter()

        async def join() -> None:
            await bench.join(connection, room_id)
            joined.answered = time.perf_counter() - begun

        async def sync() -> None:
            nonlocal since
            while not joined.in_sync:
                answer = await syncing.call("GET", f"{LAZY_SYNC}&timeout=30000&since={quote(since)}")
                since = answer["next_batch"]
                if room_id in answer.get("rooms", {}).get("join", {}):
                    joined.in_sync = time.perf_counter() - begun

        async with trio.open_nursery() as nursery:
            nursery.start_soon(join)
            nursery.start_soon(sync)

        async def read_message() -> None:
            while not joined.message_read:
                page = await reading.call("GET", f"{room}/messages?dir=b&limit=20")
                if any(event["type"] == "m.room.message" for event in page["chunk"]):
                    joined.message_read = time.perf_counter() - begun

        async def list_members() -> None:
            while not joined.every_member:
                try:
                    listed = (await connection.call("GET", f"{room}/joined_members"))["joined"]
                except Refused:
                    listed = {}
                if len(listed) == members + 1:
                    joined.every_member = time.perf_counter() - begun

        with trio.fail_after(_PATIENCE_SECONDS):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(read_message)
                nursery.start_soon(list_members)
        used = [side.cpu_seconds() for side in (bench.first, bench.second)]
    joined.first_cpu, joined.second_cpu = (after - before for after, before in zip(used, cpu, strict=True))
    return joined


async def delivery(bench: Bench) -> None:
    """Measure how long it takes until a client of the other server has a message, at a steady pace."""
    room_id = await bench.room(2)
    async with bench.followed(room_id) as follower:
        begun: dict[str, float] = {}
        async with Connection(bench.first.url, bench.residents[0].access_token) as connection:
            for number in range(bench.size(_DELIVERIES)):
                moment = time.perf_counter()
                begun[await send(connection, room_id, f"latency-{secrets.token_hex(4)}-{number}")] = moment
                await trio.sleep(max(0.0, moment + 1 / 20 - time.perf_counter()))
        await follower.until_here(set(begun), _PATIENCE_SECONDS)
        took = [follower.arrivals[event_id] - moment for event_id, moment in begun.items()]
    bench.figures.add("delivery to the other server at 20/s", milliseconds(took), p50_ms=percentile(took, 0.5) * 1e3)


async def burst(bench: Bench) -> None:
    """Measure how long it takes until a client of the other server has a burst of messages."""
    room_id = await bench.room(_BUILDERS)
    async with bench.followed(room_id) as follower:
        begun = time.perf_counter()
        sent = await bench.say(room_id, bench.size(_BURST), bench.residents[:_BUILDERS])
        sending = time.perf_counter() - begun
        await _report(bench, "burst to the other server", room_id, follower, sent, begun, f"sent in {sending:.2f} s, ")


async def outage(bench: Bench) -> None:
    """Measure how long a server takes that was away, from its first answer until a client of it has everything."""
    if bench.second.stop is None or bench.second.start is None:
        print("outage: left out, nobody told how to stop and start the second server")
        return
    room_id = await bench.room(_BUILDERS)
    async with bench.followed(room_id) as follower:
        await bench.second.stop()
        sent = await bench.say(room_id, bench.size(_MISSED), bench.residents[:_BUILDERS])
        await trio.sleep(_AWAY_SECONDS)
        await bench.second.start()
        begun = await bench.second.until_it_answers()
        await _report(bench, f"catching up with {_MISSED:,}", room_id, follower, sent, begun, "")


async def _report(
    bench: Bench, name: str, room_id: str, follower: Follower, sent: dict[str, float], begun: float, prefix: str
) -> None:
    seconds = await follower.until_here(set(sent), _PATIENCE_SECONDS) - begun
    missing = len(sent.keys() - follower.arrivals.keys())
    there = await follower.history(len(sent))
    here = await Follower(bench.first.url, bench.residents[0], room_id).history(len(sent))
    order = "in order" if there == here else f"in another order, {len(set(here) - set(there))} not in its history"
    bench.figures.add(
        name,
        f"{prefix}there after {seconds:.2f} s, {len(sent) / seconds:.0f}/s; {missing} missing, {order}",
        seconds=seconds,
        per_second=len(sent) / seconds,
        missing=missing,
        disordered=float(there != here),
    )


@dataclass(frozen=True)
class Scenario:
    """One kind of work, and how long it takes on a quiet machine of two cores."""

    act: Callable[[Bench], Awaitable[None]]
    synapse_seconds: float
    our_seconds: float


ALL: dict[str, Scenario] = {
    "remote_joins": Scenario(joins, 260, 25),
    "remote_delivery": Scenario(delivery, 15, 12),
    "remote_burst": Scenario(burst, 80, 5),
    "outage": Scenario(outage, 150, 20),
}


async def measure(options: argparse.Namespace) -> None:
    """Run the wanted scenarios one after another."""
    first = found(options.first, options.first_secret, None, None)
    second = found(options.second, options.second_secret, options.stop_second, options.start_second)
    bench = Bench(first, second, Figures(), options.share)
    for name in options.only:
        await ALL[name].act(bench)
    if options.json:
        bench.figures.write(options.json)


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", required=True, help="the address for clients of the server that has the rooms")
    parser.add_argument("--first-secret", required=True)
    parser.add_argument("--second", required=True, help="that of the server that joins them")
    parser.add_argument("--second-secret", required=True)
    parser.add_argument("--stop-second", help="a command")
    parser.add_argument("--start-second", help="a command that returns at once")
    parser.add_argument("--only", type=chosen_of(ALL), default=list(ALL), help=f"some of: {', '.join(ALL)}")
    parser.add_argument("--share", type=float, default=1.0, help="a share of all sizes, to try it out")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    trio.run(measure, parser.parse_args())


if __name__ == "__main__":
    main()
