"""What every scenario needs: users, connections, rooms, and somewhere to put the figures."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import quote

from bench.accounts import User
from bench.connection import Connection
from bench.figures import Figures

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
    _shared: dict[str, int] = field(default_factory=dict)
    _count: int = 0

    def connection(self, user: User) -> Connection:
        """Return a connection of a user, to be entered."""
        return Connection(self.base_url, user.access_token)

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

    async def sharing(self, user: User, friend: User, count: int) -> str:
        """Let two be in `count` rooms together, a message in each; return the last of these rooms."""
        for number in range(self._shared.get(user.user_id, 0), count):
            room_id = await self.room([user, friend])
            async with self.connection(friend) as connection:
                await connection.call_raw("PUT", self.send_path(room_id), TEXT)
            self.kept[f"{user.user_id} {number}"] = room_id
        self._shared[user.user_id] = max(count, self._shared.get(user.user_id, 0))
        return self.kept[f"{user.user_id} {count - 1}"]
