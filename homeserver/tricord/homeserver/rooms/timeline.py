"""Reading the history of rooms, by place. Nobody is asked for permission here: see `visibility.py`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum

from tricord.homeserver.rooms.stored_event import StoredEvent
from tricord.homeserver.stream.tokens import Place
from tricord.protocol.identifiers import EventId, RoomId


class Direction(Enum):
    """Which way to read."""

    FORWARD = "f"
    BACKWARD = "b"


@dataclass(frozen=True, slots=True)
class Stretch:
    """The newest events between two positions, oldest first; `limited`: there are more before them."""

    events: tuple[StoredEvent, ...]
    limited: bool


@dataclass(frozen=True, slots=True)
class Page:
    """Events in the order of reading; `next` is where reading goes on, None at the end."""

    events: tuple[StoredEvent, ...]
    next: Place | None


class Timeline:
    """What happened in rooms. Rejected and soft-failed events, and outliers, did not."""

    async def recent(self, room_id: RoomId, *, after: int, upto: int, limit: int) -> Stretch:
        """Return the newest events of a room between two positions."""
        raise NotImplementedError

    async def recent_in_rooms(self, after: Mapping[RoomId, int], *, upto: int, limit: int) -> dict[RoomId, Stretch]:
        """Return the same for many rooms at once, each with its own lower bound."""
        raise NotImplementedError

    async def page(self, room_id: RoomId, start: Place, end: Place | None, direction: Direction, limit: int) -> Page:
        """Return up to `limit` events from one gap of the history towards another."""
        raise NotImplementedError

    async def event(self, event_id: EventId) -> StoredEvent | None:
        """Return an event by its id, outliers and rejected ones too."""
        raise NotImplementedError

    async def events(self, event_ids: Collection[EventId]) -> dict[EventId, StoredEvent]:
        """Return those of the events that are here."""
        raise NotImplementedError

    async def closest_to(self, room_id: RoomId, ts: int, direction: Direction) -> StoredEvent | None:
        """Return the first event at or after a time, or the last at or before it."""
        raise NotImplementedError
