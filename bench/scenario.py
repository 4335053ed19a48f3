"""What every scenario needs: users, connections, rooms, and somewhere to put the figures."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from urllib.parse import quote

import trio

from bench.accounts import User
from bench.connection import Connection
from bench.figures import Figures
from bench.homeservers import Homeserver

TEXT = {"msgtype": "m.text", "body": "The quick brown fox jumps over the lazy dog, and the dog does not mind at all."}


@dataclass
class Bench:
    """What every scenario needs."""

    base_url: str
    shared_secret: str
    figures: Figures
    run: str
    seconds: float
    users: list[User] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)
    """Rooms that took long to make, by what is in them: the next turn finds them again."""
    storm: list[User] = field(default_factory=list)
    """Who joins the large room at once."""
    share: float = 1.0
    """Of all sizes, to try a scenario out."""
    crowd: int = 2_000
    """How many are in the largest room."""
    server: Homeserver | None = None
    """Its process and its database, if they are ours to look at."""
    _shared: dict[str, int] = field(default_factory=dict)
    _count: int = 0

    def connection(self, user: User) -> Connection:
        """Return a connection of a user, to be entered."""
        return Connection(self.base_url, user.access_token)

    def size(self, nominal: int, least: int = 2) -> int:
        """Return how many there are of what is so many in a whole run."""
        return max(least, round(nominal * self.share))

    def send_path(self, room_id: str) -> str:
        """Return the path of a new send."""
        self._count += 1
        return f"/_matrix/client/v3/rooms/{quote(room_id)}/send/m.room.message/{self.run}-{self._count}"

    async def room(self, members: list[User]) -> str:
        """Make a public room and let all members join."""
        async with self.connection(members[0]) as owner:
            room_id: str = (await owner.call("POST", "/_matrix/client/v3/createRoom", {"preset": "public_chat"}))[
                "room_id"
            ]
        for user in members[1:]:
            async with self.connection(user) as connection:
                await connection.call("POST", f"/_matrix/client/v3/join/{quote(room_id)}", {})
        return room_id

    async def open_to_guests(self, owner: User) -> str:
        """Make a public room, which guests may join."""
        open_to_guests = {"type": "m.room.guest_access", "content": {"guest_access": "can_join"}}
        wanted = {"preset": "public_chat", "initial_state": [open_to_guests]}
        async with self.connection(owner) as connection:
            room_id: str = (await connection.call("POST", "/_matrix/client/v3/createRoom", wanted))["room_id"]
        return room_id

    async def move(
        self,
        room_id: str,
        users: Iterable[User],
        *,
        at_once: int,
        act: str = "join",
        on_each: Callable[[], None] = lambda: None,
    ) -> None:
        """Let users join a room, or leave it."""
        waiting = iter(users)

        async def some() -> None:
            for user in waiting:
                async with self.connection(user) as connection:
                    await connection.call("POST", f"/_matrix/client/v3/rooms/{quote(room_id)}/{act}", {})
                on_each()

        async with trio.open_nursery() as nursery:
            for _ in range(at_once):
                nursery.start_soon(some)

    async def sharing(self, user: User, friend: User, count: int) -> str:
        """Let two be in `count` rooms together, a message in each; return the last of these rooms."""
        for number in range(self._shared.get(user.user_id, 0), count):
            room_id = await self.room([user, friend])
            async with self.connection(friend) as connection:
                await connection.call_raw("PUT", self.send_path(room_id), TEXT)
            self.kept[f"{user.user_id} {number}"] = room_id
        self._shared[user.user_id] = max(count, self._shared.get(user.user_id, 0))
        return self.kept[f"{user.user_id} {count - 1}"]
