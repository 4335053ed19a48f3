"""Memory that the processes of a homeserver on one machine have in common: what cannot wait for PostgreSQL's word.

How far each has committed. A client that one process has answered may ask another one next, and be there before the
notification is. So each process writes its last commit into a place of its own, before it answers, and looks at all of
them before it serves a request: where it is behind, the request waits for the notification (`Publisher.catch_up`). That
costs a look at memory as a rule, and nobody has to send a client to the process it was at before.

How often things were done lately, so that limits are those of the whole homeserver.
"""

from __future__ import annotations

import mmap
from collections.abc import Hashable
from hashlib import blake2b

MOST_PROCESSES = 64
# A cache line each, so that writers do not slow each other down.
_STRIDE = 8
_FRONTIER = MOST_PROCESSES * _STRIDE * 8
# A tag, a number and a time for each bucket; those with the same set share its ways.
_SETS, _WAYS, _FIELDS = 1 << 15, 4, 3
SIZE = _FRONTIER + _SETS * _WAYS * _FIELDS * 8


class CommonMemory:
    """The memory, as one of the processes sees it."""

    def __init__(self, memory: mmap.mmap, place: int, processes: int) -> None:
        self.place = place
        self.frontier = Frontier(memory, place, processes)
        self.buckets = Buckets(memory)


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
        positions = self._positions
        return max(positions[place] for place in self._places)


class Buckets:
    """What is left in token buckets, and when that was so; where there is no more room, the oldest is forgotten.

    Nothing is locked: what two processes take at the very same moment may be counted once.
    """

    def __init__(self, memory: mmap.mmap) -> None:
        table = memoryview(memory)[_FRONTIER:]
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


def _tag(name: str, key: Hashable) -> int:
    # The hashes of Python are other ones in each process.
    return int.from_bytes(blake2b(f"{name} {key!r}".encode(), digest_size=8).digest()) | 1
