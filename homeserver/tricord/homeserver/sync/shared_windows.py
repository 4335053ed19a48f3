"""The windows that many ask for: each is kept under what decides what is in it, as long as there is room."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

import trio

from tricord.homeserver.sync.plan import Stretch
from tricord.homeserver.sync.window import Window
from tricord.protocol.identifiers import RoomId

_MOST_SHARED = 1_000
# How many bytes the windows together take that are kept, and one of them may take: an event can be of any size.
_BUDGET, _LARGEST_KEPT = 32 << 20, 8 << 20
# Those who wait for the same news ask at once; and memory has it for some time after that.
_LAST_SECONDS = 60


class WindowKey(NamedTuple):
    """What decides what is in a window that is shared."""

    room_id: RoomId
    after: int
    upto: int
    limit: int
    full_state: bool
    lazily: bool

    @property
    def beginning(self) -> WindowKey:
        """What is the same however far the room has got."""
        return self._replace(after=0, upto=0)

    def stretch(self) -> Stretch:
        """Return the stretch to read."""
        return Stretch(self.room_id, self.after, self.upto, full_state=self.full_state, all_visible=not self.full_state)


class SharedWindows:
    """Windows that somebody has read for all."""

    def __init__(self) -> None:
        # With the bytes that each takes.
        self._windows: OrderedDict[WindowKey, tuple[Window, int]] = OrderedDict()
        self._memory = 0
        # Which of them is the last of a room that is told whole.
        self._beginnings: dict[WindowKey, WindowKey] = {}

    def fresh(self, key: WindowKey) -> Window | None:
        """Return a window that still is what would be read again, if there is one."""
        kept = self._windows.get(key)
        return None if kept is None or not kept[0].is_fresh() else kept[0]

    def keep(self, key: WindowKey, window: Window) -> None:
        """Keep a window for those who ask next."""
        self._drop(key)
        # Nobody begins any more in the room as it was before.
        self._drop(self._beginnings.get(key.beginning))
        if (memory := window.memory()) <= _LARGEST_KEPT:
            self._windows[key] = window, memory
            self._memory += memory
            if key.full_state:
                self._beginnings[key.beginning] = key
        while len(self._windows) > _MOST_SHARED or self._memory > _BUDGET:
            self._drop(next(iter(self._windows)))

    def let_go(self) -> None:
        """Forget what was read a while ago; called every minute."""
        before = trio.current_time() - _LAST_SECONDS
        for key in [key for key, (window, _) in self._windows.items() if window.read_at < before]:
            self._drop(key)

    def _drop(self, key: WindowKey | None) -> None:
        if key is not None and (kept := self._windows.pop(key, None)) is not None:
            self._memory -= kept[1]
            self._beginnings.pop(key.beginning, None)
