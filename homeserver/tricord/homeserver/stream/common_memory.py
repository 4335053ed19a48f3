"""Memory that the processes of a homeserver on one machine have in common: what cannot wait for PostgreSQL's word.

How far each has committed. A client that one process has answered may ask another one next, and be there before the
notification is. So each process writes its last commit into a place of its own, before it answers, and looks at all of
them before it serves a request: where it is behind, the request waits for the notification (`Publisher.catch_up`). That
costs a look at memory as a rule, and nobody has to send a client to the process it was at before.

How often things were done lately, so that limits are those of the whole homeserver.

Whose turn it is to write to a room, and which of them has waited longest to write, so that they do not get into each
other's way.

How many connections each of them has, so that new ones go to who has fewest.

What each has to tell the others (`news.py`), and of which rooms each wants to hear (`interests.py`).
"""

from __future__ import annotations

import mmap
import time
from collections.abc import Hashable
from hashlib import blake2b

from tricord.homeserver.stream import interests, news
from tricord.homeserver.stream.interests import PLACES, Interests, place_of
from tricord.homeserver.stream.news import MOST_PROCESSES, News

# A cache line each, so that writers do not slow each other down.
_STRIDE = 8
_FRONTIER = MOST_PROCESSES * _STRIDE * 8
_TURNS = _FRONTIER + MOST_PROCESSES * _STRIDE * 8
# A tag, a number and a time for each bucket; those with the same set share its ways.
_SETS, _WAYS, _FIELDS = 1 << 15, 4, 3
_BUCKETS = _TURNS + _SETS * _WAYS * _FIELDS * 8
# Rooms with the same place in the table have their turns in common. Behind them is when each process last wrote.
_LAST_WRITES = _BUCKETS + PLACES * 8
_ROOM_TURNS = _LAST_WRITES + MOST_PROCESSES * _STRIDE * 8
_CONNECTIONS = _ROOM_TURNS + MOST_PROCESSES * _STRIDE * 8
_INTERESTS = _CONNECTIONS + interests.SIZE
SIZE = _INTERESTS + news.SIZE
# Whoever takes longer to compute what it writes is not waited for.
TURN_SECONDS = 0.03
_TURN_NS = int(TURN_SECONDS * 1e9)
# Whoever does not take a turn that was handed on to it for so long has lost it; so has who takes so long to write.
_NEXT_MS = 30
_WRITING_MS = 2_000
# Who has not written for so long has no turn any more, and wants none.
_APART_MS = 3_000


class CommonMemory:
    """The memory, as one of the processes sees it."""

    def __init__(self, memory: mmap.mmap, place: int, processes: int) -> None:
        self.place = place
        self.processes = processes
        self.frontier = Frontier(memory, place, processes)
        self.buckets = Buckets(memory)
        self.room_turns = RoomTurns(memory, place, processes)
        self.turns = Turns(memory, place, processes)
        self.connections = Connections(memory, place)
        self.interests = Interests(memory, _CONNECTIONS, place, processes)
        self.news = News(memory, _INTERESTS, place, processes)


class Frontier:
    """The last commit of each process; this one writes its own."""

    def __init__(self, memory: mmap.mmap, place: int, processes: int) -> None:
        # Eight bytes that lie at a multiple of eight are written and read at once.
        self._positions = memoryview(memory)[:_FRONTIER].cast("q")
        self._place = place * _STRIDE
        self._places = range(0, processes * _STRIDE, _STRIDE)

    def note(self, position: int) -> None:
        """Tell of a commit of this process, before anybody is answered who could speak of it."""
        if position > self._positions[self._place]:
            self._positions[self._place] = position

    @property
    def position(self) -> int:
        """The highest position at which a process has committed."""
        return max(map(self._positions.__getitem__, self._places))


class Buckets:
    """What is left in token buckets, and when that was so; where there is no more room, the oldest is forgotten.

    Nothing is locked: what two processes take at the very same moment may be counted once.
    """

    def __init__(self, memory: mmap.mmap) -> None:
        table = memoryview(memory)[_TURNS:_BUCKETS]
        self._tags = table.cast("Q")
        self._numbers = table.cast("d")

    def get(self, name: str, key: Hashable) -> tuple[float, float] | None:
        """Return a bucket, if there is one."""
        tag = _tag(name, key)
        found = self._find(tag)
        return None if self._tags[found] != tag else (self._numbers[found + 1], self._numbers[found + 2])

    def put(self, name: str, key: Hashable, left: float, now: float) -> None:
        """Keep a bucket."""
        tag = _tag(name, key)
        found = self._find(tag)
        self._numbers[found + 1] = left
        self._numbers[found + 2] = now
        self._tags[found] = tag

    def _find(self, tag: int) -> int:
        """Return where a bucket is, or would be: in the place of the one that was used longest ago."""
        first = tag % _SETS * _WAYS * _FIELDS
        places = range(first, first + _WAYS * _FIELDS, _FIELDS)
        for place in places:
            if self._tags[place] == tag:
                return place
        return min(places, key=lambda place: self._numbers[place + 2])


class RoomTurns:
    """Whose turn it is to write to each room, and until when; and who writes at all.

    Nothing is locked: two that begin at the very same moment may both write, once.
    """

    def __init__(self, memory: mmap.mmap, place: int, processes: int) -> None:
        # The time in milliseconds, and behind it a byte for the place.
        self._notes = memoryview(memory)[_BUCKETS:_LAST_WRITES].cast("Q")
        self._last_writes = memoryview(memory)[_LAST_WRITES:_ROOM_TURNS].cast("Q")
        self._place = place
        self._own = place * _STRIDE
        self._others = [other * _STRIDE for other in range(processes) if other != place]

    def begin(self) -> bool:
        """Let others know that this process writes now, be it without a turn; return whether they write, too.

        If not, none of them has a turn, or wants one.
        """
        now = _now_ms()
        # In this order: of two that begin, at least one finds the other.
        self._last_writes[self._own] = now
        return max(map(self._last_writes.__getitem__, self._others), default=0) > now - _APART_MS

    def holder(self, room_id: str) -> int | None:
        """Return the place of another process whose turn it is."""
        if not (note := self._notes[place_of(room_id)]):
            return None
        until_ms, place = divmod(note, 256)
        return None if place == self._place or until_ms < _now_ms() else place

    def take(self, room_id: str) -> None:
        """Begin to write."""
        now = self._last_writes[self._own] = _now_ms()
        self._notes[place_of(room_id)] = now + _WRITING_MS << 8 | self._place

    def hand_on(self, room_id: str, place: int | None) -> bool:
        """Leave our turn to the process in a place, or to anybody; return whether it was ours."""
        slot = place_of(room_id)
        if self._notes[slot] % 256 != self._place:
            return False
        self._notes[slot] = 0 if place is None else _now_ms() + _NEXT_MS << 8 | place
        return True


class Turns:
    """Since when each process has had something to write: the one that has waited longest is the next.

    Nothing is locked: two that begin at the very same moment may both go on.
    """

    def __init__(self, memory: mmap.mmap, place: int, processes: int) -> None:
        self._since = memoryview(memory)[_FRONTIER:_TURNS].cast("q")
        self._place = place * _STRIDE
        self._others = [other * _STRIDE for other in range(processes) if other != place]
        self.end()

    def begin(self) -> None:
        """Note that this process has something to write from now on."""
        self._since[self._place] = time.monotonic_ns()

    def end(self) -> bool:
        """Note that it is about to write it, or need not; return whether it had anything."""
        had_some = self._since[self._place] > 0
        self._since[self._place] = 0
        return had_some

    @property
    def has_come(self) -> bool:
        """Whether no other process has waited for longer, and computes now what it writes, or will in a moment."""
        ours = self._since[self._place]
        earliest = time.monotonic_ns() - _TURN_NS
        return not any(earliest < self._since[other] < ours for other in self._others)


class Connections:
    """How many connections each process has; this one writes its own number."""

    def __init__(self, memory: mmap.mmap, place: int) -> None:
        self.place = place
        self._counts = memoryview(memory)[_ROOM_TURNS:_CONNECTIONS].cast("q")
        self._own = place * _STRIDE
        # The process that was in this place before has taken its own with it.
        self._counts[self._own] = 0

    @property
    def count(self) -> int:
        """How many this process has."""
        return self._counts[self._own]

    def add(self, number: int) -> None:
        """Have so many more."""
        self._counts[self._own] += number

    def elsewhere(self, place: int) -> int:
        """Return how many the process in a place has."""
        return self._counts[place * _STRIDE]


def _now_ms() -> int:
    # Trio's clock begins elsewhere in each process.
    return time.monotonic_ns() // 1_000_000


def _tag(name: str, key: Hashable) -> int:
    # The hashes of Python are other ones in each process.
    return int.from_bytes(blake2b(f"{name} {key!r}".encode(), digest_size=8).digest()) | 1
