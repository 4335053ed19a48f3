"""The newest events of a room in memory, so that the usual reader never asks the database."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from tricord.homeserver.rooms.stored_event import StoredEvent

# An event in memory is its JSON, its content as Python objects, and what clients are told of it.
_OVERHEAD = 600
_COPIES = 3


def memory_of(stored: StoredEvent) -> int:
    """Return about how many bytes an event takes."""
    return _OVERHEAD + _COPIES * len(stored.event.json)


class Tail:
    """All live events of a room after `floor`, in order. Soft-failed and rejected events are not in it."""

    def __init__(self, floor: int, *, budget: int) -> None:
        self.floor = floor
        self.size = 0
        self._budget = budget
        self._positions: list[int] = []
        self._events: list[StoredEvent] = []

    def append(self, events: Sequence[StoredEvent]) -> list[StoredEvent]:
        """Add what was committed; what is there already stays as it is. Returns what had to go for it."""
        last = self._positions[-1] if self._positions else self.floor
        for stored in events:
            position = stored.place.position
            if position > last and not stored.soft_failed and not stored.rejected:
                self._positions.append(position)
                self._events.append(stored)
                self.size += memory_of(stored)
        return self._trim()

    def prepend(self, events: Sequence[StoredEvent], floor: int) -> list[StoredEvent]:
        """Add what is before the floor: all that there is after the new one. Returns what had to go for it."""
        self._positions[:0] = [stored.place.position for stored in events]
        self._events[:0] = events
        self.size += sum(memory_of(stored) for stored in events)
        self.floor = floor
        return self._trim()

    def replace(self, stored: StoredEvent) -> None:
        """Put an event in place of its former self: it has been redacted."""
        index = bisect_left(self._positions, stored.place.position)
        if index < len(self._events) and self._events[index] == stored:
            self.size += memory_of(stored) - memory_of(self._events[index])
            self._events[index] = stored

    def newest(self, *, after: int, upto: int, limit: int) -> tuple[list[StoredEvent], bool] | None:
        """Return the newest events between two positions, oldest first, and whether there are more; None: not known."""
        end = bisect_right(self._positions, upto)
        start = bisect_right(self._positions, after, 0, end)
        if end - start > limit:
            return self._events[end - limit : end], True
        return (self._events[start:end], False) if after >= self.floor else None

    def has(self, stored: StoredEvent) -> bool:
        """Return whether an event is here, if it has a place in the room at all."""
        return stored.position is not None and stored.position > self.floor and not stored.backfill_rank

    def _trim(self) -> list[StoredEvent]:
        if self.size <= self._budget:
            return []
        # By half, so that not every append moves all that stays.
        count = 0
        while self.size > self._budget // 2 and count < len(self._events) - 1:
            self.size -= memory_of(self._events[count])
            count += 1
        gone = self._events[:count]
        self.floor = self._positions[count - 1]
        del self._positions[:count], self._events[:count]
        return gone
