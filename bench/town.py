"""Users who do a little of everything that a homeserver is for, each kind of work as often as people do it."""

from __future__ import annotations

import itertools
import json
import random
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from bench import accounts
from bench.accounts import User
from bench.connection import Connection
from bench.follower import LAZY_SYNC
from bench.homeservers import Homeserver
from bench.scenario import Bench

_CLIENT = "/_matrix/client/v3"
_WINDOWS = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync"
_WINDOW = {
    "lists": {"all": {"ranges": [[0, 19]], "timeline_limit": 5, "required_state": [["m.room.name", ""]]}},
    "extensions": {name: {"enabled": True} for name in ("account_data", "receipts", "typing", "to_device", "e2ee")},
}
_NEWEST = 200
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
