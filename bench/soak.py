"""Whether memory stays flat: a few hundred users do a little of everything for an hour.

    python -m bench.soak [--minutes 60] [--still 10] [--users 200] [--json FILE]

Each minute prints what the processes hold; the last lines, how that grew in the last half. In the last minutes
(`--still`) nobody writes what is kept, but all else goes on. Memory that grows then too is lost by requests; memory
that grows only before follows what is in the database, or fills caches.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import trio

from bench import accounts
from bench.accounts import User
from bench.connection import Connection, Refused
from bench.figures import Figures, percentile
from bench.follower import LAZY_SYNC
from bench.homeservers import SECRET, Homeserver, tricord, working_folder
from bench.scenario import Bench
from bench.sockets import Sockets

_CLIENT = "/_matrix/client/v3"
_WINDOWS = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync"
_WINDOW = {
    "lists": {"all": {"ranges": [[0, 19]], "timeline_limit": 5, "required_state": [["m.room.name", ""]]}},
    "extensions": {name: {"enabled": True} for name in ("account_data", "receipts", "typing", "to_device", "e2ee")},
}
# Members of the rooms that are there from the beginning.
_SIZES = (2,) * 40 + (8,) * 30 + (40,) * 10
_SOCKETS = 30
_MOST_AT_ONCE = 50
_NEWEST = 200
# How long somebody follows before coming back as a new client.
_FOLLOWED_SECONDS = 300
_WORDS = (
    "lorem",
    "ipsum",
    "dolor",
    "sit",
    "amet",
    "consectetur",
    "adipiscing",
    "elit",
    "sed",
    "do",
    "eiusmod",
    "tempor",
)

Act = Callable[["Town", random.Random], Awaitable[None]]


@dataclass(frozen=True)
class Work:
    """One kind of work: how often it is done in a second, and whether the database grows by it."""

    act: Act
    per_second: float
    writes: bool


@dataclass
class Room:
    """A room, and who is in it."""

    room_id: str
    members: list[User]


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


class Town:
    """Users, their rooms, and what they did lately."""

    def __init__(self, server: Homeserver, bench: Bench, rooms: list[Room]) -> None:
        self.server = server
        self.bench = bench
        self.rooms = rooms
        self.newest: list[tuple[Room, str]] = []
        self.files: list[str] = []
        self.counts: Counter[str] = Counter()
        self._numbers = itertools.count()

    def connection(self, user: User) -> Connection:
        """Return a connection of a user, to be entered."""
        return self.bench.connection(user)

    async def do(self, user: User, method: str, path: str, body: Any = None) -> Any:
        """Ask on a connection of its own."""
        async with self.connection(user) as connection:
            self.counts["requests"] += 1
            return await connection.call(method, path, body)

    def somebody(self, luck: random.Random) -> tuple[Room, User]:
        """Return a room and a member of it."""
        room = luck.choice(self.rooms)
        return room, luck.choice(room.members)

    async def send(self, user: User, room: Room, luck: random.Random, content: dict[str, Any] | None = None) -> None:
        """Send a message."""
        content = content or {"msgtype": "m.text", "body": " ".join(luck.choices(_WORDS, k=luck.randint(2, 60)))}
        event_id: str = (await self.do(user, "PUT", self.bench.send_path(room.room_id), content))["event_id"]
        self.counts["events"] += 1
        if "m.relates_to" not in content:
            self.newest.append((room, event_id))
            del self.newest[:-_NEWEST]

    def number(self) -> int:
        """Return a number that was not there yet."""
        return next(self._numbers)


async def say(town: Town, luck: random.Random) -> None:
    """Send a message."""
    room, user = town.somebody(luck)
    await town.send(user, room, luck)


async def answer(town: Town, luck: random.Random) -> None:
    """Reply to a message in a thread, or edit it."""
    room, event_id = luck.choice(town.newest)
    kind = luck.choice(("m.thread", "m.replace"))
    body = {"msgtype": "m.text", "body": "again"}
    content = body | {"m.new_content": body, "m.relates_to": {"rel_type": kind, "event_id": event_id}}
    await town.send(luck.choice(room.members), room, luck, content)


async def redact(town: Town, luck: random.Random) -> None:
    """Take a message back."""
    room, event_id = luck.choice(town.newest)
    path = f"{_CLIENT}/rooms/{quote(room.room_id)}/redact/{quote(event_id)}/{town.bench.run}r{town.number()}"
    await town.do(room.members[0], "PUT", path, {})
    town.counts["events"] += 1


async def rename(town: Town, luck: random.Random) -> None:
    """Give a room another name."""
    room, _ = town.somebody(luck)
    name = {"name": f"room {town.number()}"}
    await town.do(room.members[0], "PUT", f"{_CLIENT}/rooms/{quote(room.room_id)}/state/m.room.name", name)
    town.counts["events"] += 1


async def type_(town: Town, luck: random.Random) -> None:
    """Begin to type."""
    room, user = town.somebody(luck)
    path = f"{_CLIENT}/rooms/{quote(room.room_id)}/typing/{quote(user.user_id)}"
    await town.do(user, "PUT", path, {"typing": True, "timeout": 3000})


async def read_receipt(town: Town, luck: random.Random) -> None:
    """Say what has been read."""
    room, event_id = luck.choice(town.newest)
    path = f"{_CLIENT}/rooms/{quote(room.room_id)}/receipt/m.read/{quote(event_id)}"
    await town.do(luck.choice(room.members), "POST", path, {})


async def appear(town: Town, luck: random.Random) -> None:
    """Say that one is there, or away."""
    _, user = town.somebody(luck)
    body = {"presence": luck.choice(("online", "unavailable")), "status_msg": f"at {town.number()}"}
    await town.do(user, "PUT", f"{_CLIENT}/presence/{quote(user.user_id)}/status", body)


async def read_back(town: Town, luck: random.Random) -> None:
    """Read some pages of a room's history."""
    room, user = town.somebody(luck)
    path = f"{_CLIENT}/rooms/{quote(room.room_id)}/messages?dir=b&limit=50"
    token = ""
    for _ in range(3):
        page = await town.do(user, "GET", path + token)
        if "end" not in page:
            break
        token = f"&from={quote(page['end'])}"


async def look(town: Town, luck: random.Random) -> None:
    """Open a client that syncs by a window of rooms, and follow for a while."""
    _, user = town.somebody(luck)
    async with town.connection(user) as connection:
        since = ""
        for _ in range(5):
            town.counts["requests"] += 1
            answered = await connection.call("POST", f"{_WINDOWS}?timeout=1000{since}", _WINDOW)
            since = f"&pos={quote(answered['pos'])}"


async def visit(town: Town, luck: random.Random) -> None:
    """Log in on a new device, sync, and log out."""
    _, user = town.somebody(luck)
    identifier = {"type": "m.id.user", "user": user.user_id}
    body = {"type": "m.login.password", "identifier": identifier, "password": accounts.PASSWORD}
    session = await town.do(User("", ""), "POST", f"{_CLIENT}/login", body)
    device = User(user.user_id, session["access_token"])
    since = ""
    for _ in range(3):
        since = quote((await town.do(device, "GET", f"{LAZY_SYNC}&timeout=2000{since}"))["next_batch"])
        since = f"&since={since}"
    await town.do(device, "POST", f"{_CLIENT}/logout", {})


async def create(town: Town, luck: random.Random) -> None:
    """Make a room, let somebody join, and talk; every second one is left again."""
    _, owner = town.somebody(luck)
    room_id = (await town.do(owner, "POST", f"{_CLIENT}/createRoom", {"preset": "public_chat"}))["room_id"]
    guest = luck.choice([user for user in town.bench.users if user != owner])
    await town.do(guest, "POST", f"{_CLIENT}/join/{quote(room_id)}", {})
    room = Room(room_id, [owner, guest])
    town.counts["events"] += 8
    for _ in range(3):
        await town.send(luck.choice(room.members), room, luck)
    if luck.random() < 0.5:
        for user in room.members:
            await town.do(user, "POST", f"{_CLIENT}/rooms/{quote(room_id)}/leave", {})
        town.newest = [each for each in town.newest if each[0] is not room]


async def upload(town: Town, luck: random.Random) -> None:
    """Upload a file."""
    _, user = town.somebody(luck)
    async with town.connection(user) as connection:
        town.counts["requests"] += 1
        body = secrets.token_bytes(luck.randint(10_000, 400_000))
        found = await connection.call_raw("POST", "/_matrix/media/v3/upload", body, "application/octet-stream")
    town.files.append(json.loads(found)["content_uri"].removeprefix("mxc://"))
    del town.files[:-_NEWEST]


async def download(town: Town, luck: random.Random) -> None:
    """Download a file."""
    if town.files:
        _, user = town.somebody(luck)
        async with town.connection(user) as connection:
            town.counts["requests"] += 1
            await connection.call_raw("GET", f"/_matrix/client/v1/media/download/{luck.choice(town.files)}")


ALL = (
    Work(say, 12, writes=True),
    Work(answer, 2, writes=True),
    Work(redact, 0.2, writes=True),
    Work(rename, 0.2, writes=True),
    Work(create, 0.1, writes=True),
    Work(upload, 0.1, writes=True),
    Work(type_, 4, writes=False),
    Work(read_receipt, 6, writes=False),
    Work(appear, 1, writes=False),
    Work(read_back, 1, writes=False),
    Work(look, 0.3, writes=False),
    Work(visit, 0.2, writes=False),
    Work(download, 0.3, writes=False),
)


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
