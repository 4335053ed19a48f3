"""A client that follows a room and loses nothing: what a sync leaves out, it reads from the room's history."""

from __future__ import annotations

import json
import time
from urllib.parse import quote

import trio

from bench.accounts import User
from bench.connection import Connection, Refused

# As apps do: members only as they speak.
_FILTER = json.dumps({"room": {"timeline": {"limit": 100}, "state": {"lazy_load_members": True}}, "presence": {}})
LAZY_SYNC = f"/_matrix/client/v3/sync?filter={quote(_FILTER)}"


class Follower:
    """Follows one room as one user; `arrivals` tells when each message was here."""

    def __init__(self, base_url: str, user: User, room_id: str) -> None:
        self._base_url = base_url
        self._user = user
        self._room_id = room_id
        self._changed = trio.Event()
        self.arrivals: dict[str, float] = {}

    async def run(self, task_status: trio.TaskStatus[None]) -> None:
        """Follow, for ever; a server that is away is asked again until it is back."""
        since, is_first = None, True
        while True:
            try:
                async with Connection(self._base_url, self._user.access_token) as connection:
                    while True:
                        query = "&timeout=0" if since is None else f"&timeout=30000&since={quote(since)}"
                        answer = await connection.call("GET", LAZY_SYNC + query)
                        since = answer["next_batch"]
                        timeline = answer.get("rooms", {}).get("join", {}).get(self._room_id, {}).get("timeline", {})
                        self._note(timeline.get("events", []))
                        if timeline.get("limited") and not is_first:
                            await self._read_back(connection, timeline["prev_batch"])
                        if is_first:
                            is_first = False
                            task_status.started()
            except (OSError, Refused):
                await trio.sleep(0.01)

    async def until_here(self, event_ids: set[str], patience_seconds: float) -> float:
        """Return when the last of some events was here, or when patience ended."""
        with trio.move_on_after(patience_seconds):
            while not event_ids <= self.arrivals.keys():
                await self._changed.wait()
            return max(self.arrivals[event_id] for event_id in event_ids)
        return time.perf_counter()

    async def history(self, most: int) -> list[str]:
        """Return the newest messages of the room, the oldest first, as its history has them."""
        found: list[str] = []
        token = ""
        async with Connection(self._base_url, self._user.access_token) as connection:
            while len(found) < most:
                page = await connection.call("GET", self._messages_path(token))
                found += [event["event_id"] for event in page["chunk"] if event["type"] == "m.room.message"]
                if not page["chunk"] or "end" not in page:
                    break
                token = page["end"]
        return found[:most][::-1]

    async def _read_back(self, connection: Connection, token: str) -> None:
        while True:
            page = await connection.call("GET", self._messages_path(token))
            known = any(event["event_id"] in self.arrivals for event in page["chunk"])
            self._note(page["chunk"])
            if known or not page["chunk"] or "end" not in page:
                return
            token = page["end"]

    def _messages_path(self, token: str) -> str:
        path = f"/_matrix/client/v3/rooms/{quote(self._room_id)}/messages?dir=b&limit=100"
        return path + (f"&from={quote(token)}" if token else "")

    def _note(self, events: list[dict[str, str]]) -> None:
        now = time.perf_counter()
        for event in events:
            if event["type"] == "m.room.message":
                self.arrivals.setdefault(event["event_id"], now)
        self._changed.set()
        self._changed = trio.Event()
