"""Lazy loading: the member events that a client needs to show the senders of what it is told, and does not have yet.

What a device has been told is remembered with the position of the telling, so that one which asks again from an older
position (the answer was lost) is told again. Memory that is lost only means that something is told twice.
https://spec.matrix.org/v1.19/client-server-api/#lazy-loading-room-members
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from tricord.homeserver.rooms.state import RoomState
from tricord.homeserver.rooms.stored_event import StoredEvent
from tricord.homeserver.sync.viewer import Viewer
from tricord.homeserver.sync.windows import MEMBER, Window
from tricord.protocol.identifiers import RoomId, UserId

_MOST_REMEMBERED = 50_000


class LazyMembers:
    """Knows which members each device has been told of."""

    def __init__(self, state: RoomState) -> None:
        self._state = state
        self._told: OrderedDict[tuple[int, RoomId], dict[UserId, int]] = OrderedDict()

    async def lacking(
        self, viewer: Viewer, window: Window, after: int | None, senders: Iterable[UserId]
    ) -> list[StoredEvent]:
        """Return the member events that the viewer lacks, and take them as told."""
        wanted = viewer.filter.room.state
        if not wanted.lazy_load_members:
            return []
        room_id = window.stretch.room_id
        told = self._told.get((viewer.session_id, room_id))
        if told is None or window.stretch.full_state:
            told = self._told[viewer.session_id, room_id] = {}
            if len(self._told) > _MOST_REMEMBERED:
                self._told.popitem(last=False)
        needed = set(senders)
        if window.stretch.full_state:
            needed.add(viewer.user_id)
        if not wanted.include_redundant_members and after is not None:
            needed = {user_id for user_id in needed if told.get(user_id, after + 1) > after}
        if window.changes_members:
            self._take_changes(window, told)
        if not needed:
            return []
        found = await self._members(window, needed, at_end=viewer.use_state_after)
        for user_id in needed:
            told.setdefault(user_id, window.stretch.upto)
        return found

    def _take_changes(self, window: Window, told: dict[UserId, int]) -> None:
        """Take members whose events are told anyway as told."""
        if window.stretch.full_state:
            return
        for event_type, state_key in window.state:
            if event_type == MEMBER:
                told.setdefault(UserId(state_key), window.stretch.upto)

    async def _members(self, window: Window, user_ids: Iterable[UserId], *, at_end: bool) -> list[StoredEvent]:
        """Return the member events of users as they were before the timeline, or at its end."""
        keys = [(MEMBER, str(user_id)) for user_id in user_ids]
        if window.stretch.full_state:
            whole = window.state_after() if at_end else window.state
            return [whole[key] for key in keys if key in whole]
        if not window.events:
            return list((await self._state.current(window.stretch.room_id, keys)).values())
        if at_end:
            return list((await self._state.at(window.events[-1], keys)).values())
        # After the first event, but for those that the timeline itself sets: a client sees them come.
        state = await self._state.at(window.events[0], keys)
        return [stored for stored in state.values() if stored not in window.events]
