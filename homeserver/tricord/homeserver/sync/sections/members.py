"""Lazy loading: the member events that a client needs to show the senders of what it is told, and does not have yet.

What a device has been told is remembered with the position of the telling, so that one which asks again from an older
position (the answer was lost) is told again. Memory that is lost only means that something is told twice.
https://spec.matrix.org/v1.19/client-server-api/#lazy-loading-room-members
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Iterable, Mapping

from tricord.homeserver.rooms.state import RoomState
from tricord.homeserver.rooms.stored_event import StateKey, StoredEvent
from tricord.homeserver.sync.viewer import Viewer
from tricord.homeserver.sync.window import MEMBER, Window
from tricord.protocol.identifiers import RoomId, UserId

_MOST_REMEMBERED = 20_000
# Of one room. A client that is told of more of them begins anew, and is told again.
_MOST_OF_A_ROOM = 1_000


class LazyMembers:
    """Knows which members each device has been told of."""

    def __init__(self, state: RoomState) -> None:
        self._state = state
        self._told: OrderedDict[tuple[int, RoomId], dict[UserId, int]] = OrderedDict()

    async def lacking(
        self, viewer: Viewer, windows: Iterable[tuple[Window, Iterable[UserId]]], after: int | None
    ) -> dict[RoomId, list[StoredEvent]]:
        """Return the member events that the viewer lacks, and take them as told.

        With each window come those whose events are shown; of windows that are told lazily they have been read.
        """
        if not viewer.filter.room.state.lazy_load_members:
            return {}
        needed: list[tuple[Window, set[UserId], dict[UserId, int]]] = []
        for window, senders in windows:
            told = self._told_of(viewer, window)
            # Of a room that was left out, nothing was told since then.
            told_upto = after if after is None else min(after, window.stretch.after)
            if of_window := self._needed(viewer, window, told_upto, senders, told):
                needed.append((window, of_window, told))
            if window.changes_members:
                self._take_changes(window, told)
        found = await self._members([(window, users) for window, users, _ in needed], at_end=viewer.use_state_after)
        for window, users, told in needed:
            if len(told) > _MOST_OF_A_ROOM:
                told.clear()
            for user_id in users:
                # One string for all devices that were told of them.
                told.setdefault(UserId(sys.intern(user_id)), window.stretch.upto)
        return found

    def _told_of(self, viewer: Viewer, window: Window) -> dict[UserId, int]:
        """Return of whom the viewer has been told in a room, and when."""
        key = (viewer.session_id, window.stretch.room_id)
        told = self._told.get(key)
        if told is None or window.stretch.full_state:
            told = self._told[key] = {}
            if len(self._told) > _MOST_REMEMBERED:
                self._told.popitem(last=False)
        return told

    def _needed(
        self, viewer: Viewer, window: Window, after: int | None, senders: Iterable[UserId], told: Mapping[UserId, int]
    ) -> set[UserId]:
        needed = set(senders)
        if window.stretch.full_state:
            needed.add(viewer.user_id)
        if not viewer.filter.room.state.include_redundant_members and after is not None:
            needed = {user_id for user_id in needed if told.get(user_id, after + 1) > after}
        return needed

    def _take_changes(self, window: Window, told: dict[UserId, int]) -> None:
        """Take members whose events are told anyway as told."""
        if window.stretch.full_state:
            return
        for event_type, state_key in window.state:
            if event_type == MEMBER:
                told.setdefault(UserId(state_key), window.stretch.upto)

    async def _members(
        self, windows: Iterable[tuple[Window, Iterable[UserId]]], *, at_end: bool
    ) -> dict[RoomId, list[StoredEvent]]:
        """Return the member events of users as they were before the timelines, or at their ends."""
        found: dict[RoomId, list[StoredEvent]] = {}
        now: dict[RoomId, list[StateKey]] = {}
        then: dict[StoredEvent, list[StateKey]] = {}
        shown: dict[StoredEvent, Window] = {}
        for window, user_ids in windows:
            keys = [(MEMBER, str(user_id)) for user_id in user_ids]
            if window.stretch.full_state:
                whole = window.state_after() if at_end else window.state
                found[window.stretch.room_id] = [whole[key] for key in keys if key in whole]
            elif not window.events:
                now[window.stretch.room_id] = keys
            else:
                event = window.events[-1 if at_end else 0]
                then[event], shown[event] = keys, window
        if now:
            for room_id, state in (await self._state.current_in_rooms(now)).items():
                found[room_id] = list(state.values())
        if then:
            for event, state in (await self._state.some_at(then)).items():
                # After the first event, but for those that the timeline itself sets: a client sees them come.
                beside = () if at_end else shown[event].events
                found[event.event.room_id] = [stored for stored in state.values() if stored not in beside]
        return found
