"""Which rooms the processes of a homeserver want to hear of, as they note it in their common memory.

A process that knows a room wants to be told what becomes of it. One whose clients wait for something in a room wants to
be woken. One that has something to write to a room in which it is another's turn wants the next one. All others need
none of that, and what is told of rooms is most of what there is to tell.

It is noted where it begins, and taken back when it has been of no use: clients that wait come and go all the time. The
table is small, so that rooms share places in it: then somebody is told or woken in vain.
"""

from __future__ import annotations

import mmap
from array import array
from collections.abc import Iterable
from functools import lru_cache
from zlib import crc32

from tricord.homeserver.stream.news import MOST_PROCESSES

PLACES = 1 << 14
SIZE = MOST_PROCESSES * PLACES
# Of more rooms than this, none is noted any longer than somebody waits there.
_MANY = 50_000
# Of so many rooms it is not worked out again where they are; they are asked for several times by each write.
_REMEMBERED = 1 << 10


MOVES = 1
"""To be told what becomes of a room."""
WAKING = 2
"""To be woken when something happens in a room."""
WRITING = 4
"""To have the next turn to write to a room."""
COMING = 8
"""To be woken once a room is what others were told that it is about to be, or never will be."""
A_HOLE = "a hole in the positions"
"""In place of a room: whoever wants to be woken for it waits for whatever is committed next."""
A_TURN = "a turn to write"
"""The same, for whoever has computed next what is to be written."""


class Interests:
    """What each process has noted; this one writes its own notes."""

    def __init__(self, memory: mmap.mmap, start: int, place: int, processes: int) -> None:
        whole = memoryview(memory)[start : start + SIZE]
        tables = [whole[each * PLACES : (each + 1) * PLACES] for each in range(processes)]
        self._own = tables[place]
        # The process that was in this place before wants nothing any more.
        self._own[:] = bytes(PLACES)
        self._others = [(other, table) for other, table in enumerate(tables) if other != place]
        self._noted: dict[str, int] = {}
        # How many rooms are noted in each place of the table.
        self._counts = {interest: array("I", bytes(4 * PLACES)) for interest in (MOVES, WAKING, WRITING, COMING)}

    @property
    def are_many(self) -> bool:
        """Whether more is noted than should be kept without need."""
        return len(self._noted) > _MANY

    def note(self, room_id: str, interest: int) -> None:
        """Want something of a room, before anything is read of it."""
        noted = self._noted.get(room_id, 0)
        if noted & interest:
            return
        self._noted[room_id] = noted | interest
        place = place_of(room_id)
        self._counts[interest][place] += 1
        self._own[place] |= interest

    def drop(self, room_id: str, interest: int) -> None:
        """Want it no longer."""
        noted = self._noted.get(room_id, 0)
        if not noted & interest:
            return
        if left := noted & ~interest:
            self._noted[room_id] = left
        else:
            del self._noted[room_id]
        place = place_of(room_id)
        counts = self._counts[interest]
        counts[place] -= 1
        if not counts[place]:
            self._own[place] &= ~interest

    def elsewhere(self, room_id: str, interest: int) -> list[int]:
        """Return the places of the others that want something of a room."""
        place = place_of(room_id)
        return [other for other, table in self._others if table[place] & interest]

    def elsewhere_for_any(self, room_ids: Iterable[str], interest: int) -> set[int]:
        """Return the places of the others that want something of any of some rooms."""
        found = set()
        for room_id in room_ids:
            place = place_of(room_id)
            for other, table in self._others:
                if table[place] & interest:
                    found.add(other)
        return found


@lru_cache(_REMEMBERED)
def place_of(room_id: str) -> int:
    """Return the place of a room in tables that processes have in common, of `PLACES`; rooms may share one."""
    # The hashes of Python are other ones in each process.
    return crc32(room_id.encode()) % PLACES
