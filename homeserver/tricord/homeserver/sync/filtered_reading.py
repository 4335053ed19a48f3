"""Reading back in a room for the events that a filter lets through, page by page.

Pages are read for many rooms at once; what is found in each is noted here.
"""

from __future__ import annotations

from collections.abc import Iterator

from tricord.homeserver.rooms.stored_event import StoredEvent
from tricord.homeserver.rooms.timeline import Stretch as Read
from tricord.homeserver.sync.plan import Stretch
from tricord.homeserver.sync.window import Window, window_of
from tricord.protocol.event_filters import RoomEventFilter

# How far a filter that lets little through is followed back.
_MOST_LOOKED_AT, _PAGE = 1_000, 100


def page_sizes(limit: int) -> Iterator[int]:
    """Give the sizes of the pages to read until there are so many events: most filters let most events through."""
    rest = _MOST_LOOKED_AT
    size = min(max(2 * limit, 1), _PAGE)
    while rest:
        yield size
        rest -= size
        size = min(rest, _PAGE)


class FilteredReading:
    """What has been found in a room so far."""

    def __init__(self, stretch: Stretch, limit: int, wanted: RoomEventFilter) -> None:
        self.room_id = stretch.room_id
        self._stretch = stretch
        self._limit = limit
        self._wanted = wanted
        # A filter for all rooms may name others than this one: then no event is wanted.
        self._is_wanted_room = wanted.allows_room(stretch.room_id)
        self._upto = stretch.upto
        self._first: StoredEvent | None = None
        # The newest first.
        self._found: list[StoredEvent] = []
        self._passed_over: list[StoredEvent] = []
        self._has_more = True

    @property
    def rest(self) -> tuple[int, int]:
        """The positions between which nothing has been looked at."""
        return self._stretch.after, self._upto

    def take(self, page: Read) -> bool:
        """Look at the page before what has been looked at; return whether to go on."""
        for stored in reversed(page.events):
            if len(self._found) == self._limit:
                break
            self._first = stored
            if self._is_wanted_room and self._wanted.allows(stored.event):
                self._found.append(stored)
            elif stored.event.is_state:
                self._passed_over.append(stored)
        if self._first is not None:
            self._upto = self._first.place.position - 1
        is_enough = len(self._found) == self._limit
        self._has_more = page.limited or (is_enough and self._upto > self._stretch.after)
        return page.limited and not page.is_cut and not is_enough

    def window(self) -> Window:
        """Return the window of the events that were found.

        State that the filter keeps out of the timeline is told beside it, or nobody would ever hear of it.
        """
        window = window_of(self._stretch, Read(tuple(reversed(self._found)), limited=self._has_more), self._limit)
        window.start = self._upto
        window.first = self._first
        return window.without(self._passed_over) if self._passed_over else window
