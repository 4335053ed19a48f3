"""How far the processes on this machine have committed, told in memory that they share.

A client that one process has answered may ask another one next, and be there before PostgreSQL's notification is. So
each process writes its last commit into a place of its own, before it answers, and looks at all of them before it
serves a request: where it is behind, the request waits for the notification (`Publisher.catch_up`). That costs a look
at memory as a rule, and nobody has to send a client to the process it was at before.
"""

from __future__ import annotations

import mmap

MOST_PROCESSES = 64
# A cache line each, so that writers do not slow each other down.
_STRIDE = 8
SIZE = MOST_PROCESSES * _STRIDE * 8


class Frontier:
    """The last commit of each process; this one writes its own."""

    def __init__(self, memory: mmap.mmap, place: int, processes: int) -> None:
        # Eight bytes that lie at a multiple of eight are written and read at once.
        self._positions = memoryview(memory).cast("q")
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
