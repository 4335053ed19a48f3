"""What a client knows of rooms that follows by sliding sync: rebuilt from what its windows show, and `/messages`."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from tests.homeserver.sync.people import Follower
from tests.homeserver.sync.replica import MEMBER, KnownRoom, Wishes


@dataclass
class WindowReplica:
    """What one client knows, and how much it looks at."""

    person: Follower
    wishes: Wishes
    first: int = 1
    pos: str | None = None
    rooms: dict[str, KnownRoom] = field(default_factory=dict)
    account_data: dict[str, Any] = field(default_factory=dict)

    def keep(self) -> Any:
        """Return what it knows now, as it would store it."""
        return copy.deepcopy((self.pos, self.rooms, self.account_data))

    def go_back(self, kept: Any) -> None:
        """Know again what it knew then."""
        self.pos, self.rooms, self.account_data = copy.deepcopy(kept)

    def forget(self) -> None:
        """Know nothing, as after the cache was cleared."""
        self.pos = None
        self.rooms.clear()
        self.account_data.clear()

    async def ask(self, wait_ms: int = 0) -> Any:
        """Ask what is new; begin anew if the server does not know the connection any more."""
        required = [["*", "*"], [MEMBER, "$LAZY"]] if self.wishes.lazily else [["*", "*"]]
        seen = {"ranges": [[0, self.first]], "timeline_limit": self.wishes.limit, "required_state": required}
        body = {"lists": {"all": seen}, "extensions": {"account_data": {"enabled": True}}}
        query = f"?timeout={wait_ms}" + (f"&pos={quote(self.pos)}" if self.pos else "")
        path = "/unstable/org.matrix.simplified_msc3575/sync"
        status, answer = await self.person.call("POST", path + query, body)
        if status == 400 and answer["errcode"] == "M_UNKNOWN_POS":
            self.forget()
            return await self.ask(wait_ms)
        assert status == 200, answer
        return answer

    async def take(self, answer: Any) -> None:
        """Take in an answer."""
        for room_id, told in answer["rooms"].items():
            known = self.rooms.setdefault(room_id, KnownRoom())
            if told.get("initial"):
                known = self.rooms[room_id] = KnownRoom()
            known.membership = told["membership"]
            await self._take_timeline(room_id, known, told)
            for event in told.get("required_state", ()):
                known.state[event["type"], event["state_key"]] = event["event_id"]
        for event in answer["extensions"]["account_data"]["global"]:
            self.account_data[event["type"]] = event["content"]
        self.pos = answer["pos"]

    async def _take_timeline(self, room_id: str, known: KnownRoom, told: Any) -> None:
        new = told.get("timeline", [])
        assert len(new) <= self.wishes.limit
        is_told_again = told.get("expanded_timeline", False)
        if told.get("limited"):
            if self.wishes.lazily:
                known.state = {key: event_id for key, event_id in known.state.items() if key[0] != MEMBER}
            new = [*await self._gap(room_id, known, told["prev_batch"]), *new]
        for event in new:
            event_id = event["event_id"]
            is_own = (event["type"], event.get("state_key")) == (MEMBER, self.person.user_id)
            assert event_id not in known.seen or is_own or is_told_again, f"{event_id} is told again in {room_id}"
            known.seen[event_id] = None

    async def _gap(self, room_id: str, known: KnownRoom, prev_batch: str) -> list[Any]:
        """Read back to what is known, or to the beginning."""
        missed: list[Any] = []
        place: str | None = prev_batch
        while place is not None:
            page = await self.person.get(f"/v3/rooms/{quote(room_id)}/messages?dir=b&limit=4&from={place}")
            for event in page["chunk"]:
                is_own = (event["type"], event.get("state_key")) == (MEMBER, self.person.user_id)
                if event["event_id"] in known.seen and not is_own:
                    return missed[::-1]
                missed.append(event)
            place = page.get("end")
        return missed[::-1]
