"""What a client that follows knows of rooms: rebuilt from nothing but the deltas, and `/messages` where they have gaps.

It is told no more than a client is, and complains where it is told something twice.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import orjson

from tests.homeserver.sync.people import Follower

MEMBER = "m.room.member"


@dataclass(frozen=True)
class Wishes:
    """How a client syncs."""

    limit: int = 3
    lazily: bool = False
    state_after: bool = False
    only_messages: bool = False
    """In the timeline: state comes beside it."""

    def filter(self) -> dict[str, Any]:
        room: dict[str, Any] = {"timeline": self.timeline() | {"limit": self.limit}}
        if self.lazily:
            room["state"] = {"lazy_load_members": True}
        return {"room": room}

    def timeline(self) -> dict[str, Any]:
        return {"types": ["m.room.message"]} if self.only_messages else {}


@dataclass
class KnownRoom:
    """A room as the client knows it."""

    membership: str = "leave"
    state: dict[tuple[str, str], str] = field(default_factory=dict)
    """The id of the event at each key."""
    seen: dict[str, None] = field(default_factory=dict)
    """The ids of all events it was shown."""


@dataclass
class Replica:
    """What one client knows."""

    person: Follower
    wishes: Wishes
    since: str | None = None
    rooms: dict[str, KnownRoom] = field(default_factory=dict)
    account_data: dict[str, Any] = field(default_factory=dict)

    def keep(self) -> Any:
        """Return what it knows now, as it would store it."""
        return copy.deepcopy((self.since, self.rooms, self.account_data))

    def go_back(self, kept: Any) -> None:
        """Know again what it knew then."""
        self.since, self.rooms, self.account_data = copy.deepcopy(kept)

    def forget(self) -> None:
        """Know nothing, as after the cache was cleared."""
        self.since = None
        self.rooms.clear()
        self.account_data.clear()

    async def take(self, delta: Any, position: str) -> None:
        """Take in a delta, as `/sync` answers it."""
        rooms = delta.get("rooms", {})
        for room_id, room in rooms.get("join", {}).items():
            if self.rooms.get(room_id, KnownRoom()).membership == "invite":
                # Asked in, one begins anew, whatever one knew from an earlier stay.
                del self.rooms[room_id]
            known = self._room(room_id, "join")
            await self._take_timeline(room_id, known, room)
            self._take_state(known, room)
        for room_id, room in rooms.get("leave", {}).items():
            await self._take_timeline(room_id, self._room(room_id, "leave"), room)
        for room_id in rooms.get("invite", {}):
            self._room(room_id, "invite")
        for event in delta.get("account_data", {}).get("events", ()):
            self.account_data[event["type"]] = event["content"]
        self.since = position

    def _room(self, room_id: str, membership: str) -> KnownRoom:
        known = self.rooms.setdefault(room_id, KnownRoom())
        known.membership = membership
        return known

    def _take_state(self, known: KnownRoom, room: Any) -> None:
        events = room.get("timeline", {}).get("events", ())
        if self.wishes.state_after:
            assert "state" not in room
            assert "state_after" in room or "timeline" not in room
            events = ()
        for event in (*room.get("state_after" if self.wishes.state_after else "state", {}).get("events", ()), *events):
            if "state_key" in event:
                known.state[event["type"], event["state_key"]] = event["event_id"]

    async def _take_timeline(self, room_id: str, known: KnownRoom, room: Any) -> None:
        timeline = room.get("timeline")
        if timeline is None:
            return
        new = timeline["events"]
        assert len(new) <= self.wishes.limit
        if timeline["limited"]:
            new = [*await self._gap(room_id, known, timeline["prev_batch"]), *new]
        for event in new:
            event_id = event["event_id"]
            assert event_id not in known.seen or self._is_own(event), f"{event_id} is told again in {room_id}"
            known.seen[event_id] = None

    def _is_own(self, event: Any) -> bool:
        """What became of the user while they were outside is told then, and in its place when they come back."""
        return (event["type"], event.get("state_key")) == (MEMBER, self.person.user_id)

    async def _gap(self, room_id: str, known: KnownRoom, prev_batch: str) -> list[Any]:
        """Read back to what is known, or to the beginning."""
        missed: list[Any] = []
        place: str | None = prev_batch
        wanted = quote(orjson.dumps(self.wishes.timeline()))
        while place is not None:
            query = f"dir=b&limit=4&from={place}&filter={wanted}"
            page = await self.person.get(f"/v3/rooms/{quote(room_id)}/messages?{query}")
            for event in page["chunk"]:
                if event["event_id"] in known.seen and not self._is_own(event):
                    return missed[::-1]
                missed.append(event)
            place = page.get("end")
        return missed[::-1]
