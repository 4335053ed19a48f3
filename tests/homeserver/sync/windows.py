"""Somebody who looks at windows of their rooms: one connection of sliding sync."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from tests.homeserver.sync.people import Follower

SYNC = "/unstable/org.matrix.simplified_msc3575/sync"


@dataclass
class Window:
    """One connection of somebody."""

    person: Follower
    lists: dict[str, Any] = field(default_factory=dict)
    subscriptions: dict[str, Any] = field(default_factory=dict)
    extensions: dict[str, Any] = field(default_factory=dict)
    conn_id: str = "main"
    pos: str | None = None

    def body(self) -> dict[str, Any]:
        return {
            "conn_id": self.conn_id,
            "lists": self.lists,
            "room_subscriptions": self.subscriptions,
            "extensions": self.extensions,
        }

    def query(self, wait_ms: int = 0) -> str:
        return f"?timeout={wait_ms}" + (f"&pos={quote(self.pos)}" if self.pos else "")

    async def look(self, wait_ms: int = 0) -> Any:
        answer = await self.person.post(SYNC + self.query(wait_ms), self.body())
        self.pos = answer["pos"]
        return answer


def first(count: int, limit: int = 3, state: list[list[str]] | None = None, **filters: Any) -> dict[str, Any]:
    """Return lists with one, of which the first rooms are looked at."""
    wanted = {"ranges": [[0, count - 1]], "timeline_limit": limit, "required_state": state or [], "filters": filters}
    return {"all": wanted}


def bodies(room: Any) -> list[str]:
    return [e["content"].get("body") for e in room.get("timeline", ()) if e["type"] == "m.room.message"]
