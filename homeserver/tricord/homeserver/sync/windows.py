"""Reading what happened in rooms between two positions: events, the state before them, receipts and typing.

A window holds nothing that depends on who looks, so that all who wait for the same news share one, as do those who
begin in a room. What only one asks for, such as what a filter lets through, is read for them, many rooms at once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

import trio

from tricord.homeserver.rooms.client_format import companions_of
from tricord.homeserver.rooms.retention import Retention
from tricord.homeserver.rooms.state import RoomState
from tricord.homeserver.rooms.stored_event import StateKey, StoredEvent
from tricord.homeserver.rooms.timeline import Stretch as Read
from tricord.homeserver.rooms.timeline import Timeline
from tricord.homeserver.storage.aggregations import kinds_of_children
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.receipts import Receipt, newest_receipts, receipts_between
from tricord.homeserver.storage.room_changes import rooms_changed
from tricord.homeserver.storage.typing import typing_changes, typing_in
from tricord.homeserver.stream.recent_changes import RecentChanges
from tricord.homeserver.sync.filtered_reading import FilteredReading, page_sizes
from tricord.homeserver.sync.plan import Stretch
from tricord.homeserver.sync.shared_windows import SharedWindows, WindowKey
from tricord.homeserver.sync.window import MEMBER, Window, is_beginning, state_set_by, window_of
from tricord.protocol.event_filters import Filter, RoomEventFilter
from tricord.protocol.identifiers import RoomId, UserId

_DEFAULT_LIMIT = 10
_HIGHEST_LIMIT = 500
# Of a room that begins, the receipts that moved last are told: in a large one all would be most of the answer.
MOST_RECEIPTS = 500
# Pages of many rooms are read together, as long as they are not more events than this.
_EVENTS_AT_A_TIME = 2_000
_NOTHING = Read((), limited=False)


def timeline_limit(wanted: Filter) -> int:
    """Return how many events a client wants of each room."""
    limit = wanted.room.timeline.limit
    return _DEFAULT_LIMIT if limit is None else min(limit, _HIGHEST_LIMIT)


class Windows:
    """Reads what happened."""

    def __init__(
        self,
        database: Database,
        timeline: Timeline,
        state: RoomState,
        changes: RecentChanges,
        retention: Retention | None = None,
    ) -> None:
        self._database = database
        self._timeline = timeline
        self._state = state
        self._changes = changes
        self._retention = retention
        self._shared = SharedWindows()
        self._loading: dict[WindowKey, trio.Event] = {}

    async def shared_in_rooms(
        self, stretches: Iterable[Stretch], limit: int, *, lazily: bool = False
    ) -> dict[RoomId, Window]:
        """Return the windows of stretches that many may ask for, read once for everybody who asks meanwhile.

        Those are stretches that are all visible, and whole rooms for who is in them: see `may_be_shared`.
        """
        wanted: dict[RoomId, WindowKey] = {}
        for stretch in stretches:
            room_id, whole = stretch.room_id, stretch.full_state
            after, upto = stretch.after, stretch.upto
            if whole:
                upto = self._changes.unchanged_since(room_id, upto)
            else:
                after, upto = self._changes.last_change(room_id, after, upto)
            wanted[room_id] = WindowKey(room_id, after, upto, limit, whole, whole and lazily)
        windows: dict[RoomId, Window] = {}
        # No await on the way of the first reader, as long as memory has everything: a thousand who were woken by the
        # same commit then go through here one after the other, without waiting for each other.
        while True:
            kept = ((room_id, self._shared.fresh(key)) for room_id, key in wanted.items())
            windows |= {room_id: window for room_id, window in kept if window is not None}
            missing = [key for room_id, key in wanted.items() if room_id not in windows]
            if not missing:
                # Members are added to a window without them for each reader: in a copy.
                own = {r: replace(window, news={}) if window.lazily else window for r, window in windows.items()}
                return await self._still_told(own)
            if unread := [key for key in missing if key not in self._loading]:
                windows |= await self._load_shared(unread, limit)
            else:
                await self._loading[missing[0]].wait()

    def let_go(self) -> None:
        """Forget what was shared a while ago; called every minute."""
        self._shared.let_go()

    async def _load_shared(self, keys: Collection[WindowKey], limit: int) -> dict[RoomId, Window]:
        loading = trio.Event()
        self._loading.update(dict.fromkeys(keys, loading))
        windows: dict[RoomId, Window] = {}
        try:
            for whole in (False, True):
                if some := [key for key in keys if key.full_state is whole]:
                    windows |= await self.load([key.stretch() for key in some], limit, lazily=some[0].lazily)
            await self._ask_kinds([window for window in windows.values() if window.tells_of_relations])
            for key in keys:
                self._shared.keep(key, windows[key.room_id])
        finally:
            for key in keys:
                del self._loading[key]
            loading.set()
        return windows

    async def _ask_kinds(self, windows: Collection[Window]) -> None:
        """Ask what relates to the events of some windows, for all who ask it again."""
        parents = [e.event.event_id for window in windows for e in window.events if not e.event.is_state]
        kinds = await self._database.read(kinds_of_children, parents) if parents else {}
        for window in windows:
            ids = [stored.event.event_id for stored in window.events]
            window.kinds = {event_id: kinds[event_id] for event_id in ids if event_id in kinds}

    async def rooms_changed(self, room_ids: Collection[RoomId], after: int, upto: int) -> list[RoomId]:
        """Return which of some rooms changed, from the tables if that is longer ago than memory goes."""
        changed = self._changes.rooms_changed(room_ids, after, upto)
        if changed is None:
            changed = await self._database.read(rooms_changed, room_ids, after, upto)
        return changed

    async def load(
        self,
        stretches: Collection[Stretch],
        limit: int,
        wanted: RoomEventFilter | None = None,
        *,
        lazily: bool = False,
    ) -> dict[RoomId, Window]:
        """Return the windows of many rooms, of events that a filter lets through.

        `lazily` leaves members out of whole states: see `add_members`.
        """
        whole: list[Stretch] = []
        readings: list[FilteredReading] = []
        for stretch in stretches:
            if wanted is None or (wanted.allows_everything and wanted.allows_room(stretch.room_id)):
                whole.append(stretch)
            else:
                readings.append(FilteredReading(stretch, limit, wanted))
        await self._read_filtered(readings, limit)
        windows = {reading.room_id: reading.window() for reading in readings}
        if whole:
            windows |= await self._unfiltered(whole, limit)
        windows = await self._still_told(windows)
        for window in windows.values():
            window.lazily = lazily and window.stretch.full_state and window.stretch.left is None
        await self._add_states(windows.values())
        await self._add_receipts(windows)
        await self._add_typing(windows)
        companions = await companions_of(
            [
                stored
                for window in windows.values()
                for stored in (*window.events, *window.state.values())
                if stored.replaces is not None or stored.redacted_because is not None
            ],
            self._timeline,
        )
        for window in windows.values():
            window.companions = companions
            window.index()
        return windows

    async def _still_told(self, windows: dict[RoomId, Window]) -> dict[RoomId, Window]:
        """Return the windows without messages whose time is over, which have not been deleted yet."""
        if self._retention is None:
            return windows
        over = await self._retention.over([stored for window in windows.values() for stored in window.events])
        if not over:
            return windows
        return {
            room_id: window.without([stored for stored in window.events if stored in over])
            for room_id, window in windows.items()
        }

    async def _unfiltered(self, stretches: Collection[Stretch], limit: int) -> dict[RoomId, Window]:
        between = {stretch.room_id: (stretch.after, stretch.upto) for stretch in stretches}
        read = await self._timeline.unbroken(await self._timeline.recent_between(between, limit=max(limit, 1)))
        return {
            stretch.room_id: window_of(stretch, read.get(stretch.room_id, _NOTHING), limit) for stretch in stretches
        }

    async def _read_filtered(self, readings: Sequence[FilteredReading], limit: int) -> None:
        going_on = readings
        for size in page_sizes(limit):
            waiting, going_on, at_once = going_on, [], max(1, _EVENTS_AT_A_TIME // size)
            for start in range(0, len(waiting), at_once):
                some = {reading.room_id: reading for reading in waiting[start : start + at_once]}
                rest = {room_id: reading.rest for room_id, reading in some.items()}
                pages = await self._timeline.unbroken(await self._timeline.recent_between(rest, limit=size))
                going_on += [reading for room_id, reading in some.items() if reading.take(pages[room_id])]

    async def add_members(self, wanted: Collection[tuple[Window, Collection[UserId]]]) -> None:
        """Add some members, as they were before the timeline, to windows whose state has none."""
        keys: dict[StoredEvent, list[StateKey]] = {}
        for window, user_ids in wanted:
            if (then := window.before or window.first) is not None:
                keys[then] = [(MEMBER, str(user_id)) for user_id in user_ids]
        found = await self._state.some_of_rooms_at(keys) if keys else {}
        members = [stored for some in found.values() for stored in some.values()]
        companions = await companions_of(members, self._timeline)
        for window, _ in wanted:
            window.companions = {**window.companions, **companions}
            if window.before is not None:
                window.state = {**found[window.before], **window.state}
            elif window.first is not None:
                # Nothing is before it, but for the state with which it came. What it sets itself is in the timeline.
                window.state = {**_but_for(window.first, found[window.first]), **window.state}

    async def _add_states(self, windows: Collection[Window]) -> None:
        whole = [window for window in windows if window.stretch.full_state]
        if whole:
            lasts = await self._timeline.last_until({window.stretch.room_id: window.state_until for window in whole})
            for window in whole:
                window.before = lasts.get(window.stretch.room_id)
            lazy, others = ([window for window in whole if window.lazily is lazily] for lazily in (True, False))
            states = await self._state.of_rooms_at([window.before for window in others if window.before])
            states |= await self._without_members(lazy)
            states |= await self._state.before_many([first for window in others if (first := _beginning(window))])
            for window in whole:
                if window.before is not None:
                    window.state = {**states[window.before], **window.state}
                elif window.first is not None and window.first in states:
                    # What it sets itself is in the timeline.
                    window.state = {**_but_for(window.first, states[window.first]), **window.state}
        await self._add_changes([window for window in windows if window.is_gappy])
        for window in windows:
            if any(stored.resolved_state is not None for stored in window.events):
                await self._follow_forks(window)

    async def _without_members(self, windows: Collection[Window]) -> dict[StoredEvent, dict[StateKey, StoredEvent]]:
        """Return what is set, but for members, before some windows; or at the first event where nothing is before."""
        then = [last for window in windows if (last := window.before or window.first)]
        return await self._state.of_rooms_at_without_type(then, MEMBER) if then else {}

    async def _add_changes(self, windows: Collection[Window]) -> None:
        """Add what changed between the beginning of the stretch and the first event."""
        lasts = await self._timeline.last_until({window.stretch.room_id: window.state_until for window in windows})
        moved = [
            (window.stretch, window, last)
            for window in windows
            if (last := lasts.get(window.stretch.room_id)) and last.place.position > window.stretch.after
        ]
        known = await self._timeline.last_until({stretch.room_id: stretch.after for stretch, _, _ in moved})
        changes = await self._state.changes_since({last: known.get(stretch.room_id) for stretch, _, last in moved})
        for _, window, last in moved:
            window.state = {**changes[last], **window.state}

    async def _follow_forks(self, window: Window) -> None:
        """Let a window of a room with forks end in the room's state.

        Clients take the last event of a timeline that sets a key for what is set. Where forks were resolved otherwise,
        events that lost are left out, and what won is told beside the timeline.
        """
        before, last = await self._last_before(window), window.events[-1]
        changes = await self._state.changes(before, last)
        by_timeline = state_set_by(window.events)
        unchanged = [key for key in by_timeline if key not in changes]
        kept = {} if before is None or not unchanged else await self._state.of_room_at(before)
        really = {**changes, **{key: kept[key] for key in unchanged if key in kept}}
        wrong = {key for key, stored in by_timeline.items() if really.get(key) != stored}
        window.events = tuple(stored for stored in window.events if stored.key not in wrong)
        window.state |= {key: stored for key, stored in changes.items() if by_timeline.get(key) != stored}

    async def _last_before(self, window: Window) -> StoredEvent | None:
        room_id = window.stretch.room_id
        return (await self._timeline.last_until({room_id: window.state_until})).get(room_id)

    async def _add_receipts(self, windows: Mapping[RoomId, Window]) -> None:
        begin: dict[RoomId, int] = {}
        for room_id, window in windows.items():
            after = 0 if window.stretch.full_state else window.stretch.after
            if after == 0 or self._changes.passing_changed(room_id, after):
                begin[room_id] = after
        beginning = {room_id: windows[room_id].stretch.upto for room_id, after in begin.items() if not after}
        going_on = [room_id for room_id, after in begin.items() if after]
        receipts: dict[RoomId, list[Receipt]] = {}
        if beginning:
            for receipt in await self._database.read(newest_receipts, beginning, MOST_RECEIPTS + 1):
                receipts.setdefault(receipt.room_id, []).append(receipt)
            for room_id, of_room in receipts.items():
                windows[room_id].lacks_receipts = len(of_room) > MOST_RECEIPTS
                del of_room[MOST_RECEIPTS:]
                of_room.reverse()
        if going_on:
            since = min(begin[room_id] for room_id in going_on)
            upto = max(windows[room_id].stretch.upto for room_id in going_on)
            for receipt in await self._database.read(receipts_between, going_on, since, upto):
                if begin[receipt.room_id] < receipt.position <= windows[receipt.room_id].stretch.upto:
                    receipts.setdefault(receipt.room_id, []).append(receipt)
        for room_id, of_room in receipts.items():
            windows[room_id].receipts = of_room

    async def _add_typing(self, windows: Mapping[RoomId, Window]) -> None:
        perhaps = [
            room_id
            for room_id, window in windows.items()
            if window.stretch.full_state or self._changes.passing_changed(room_id, window.stretch.after)
        ]
        if not perhaps:
            return
        changed = await self._database.read(typing_changes, perhaps, 0)
        told = [
            room_id
            for room_id, position in changed.items()
            # What comes later is told later, or never to somebody who has left by then.
            if windows[room_id].stretch.after < position <= windows[room_id].stretch.upto
        ]
        typing: dict[RoomId, list[UserId]] = {room_id: [] for room_id in told}
        if told:
            for room_id, user_id, _ in await self._database.read(typing_in, told):
                typing[room_id].append(user_id)
        for room_id, user_ids in typing.items():
            # A client that begins need not hear that nobody types.
            if user_ids or not is_beginning(windows[room_id].stretch):
                windows[room_id].typing = user_ids


def _beginning(window: Window) -> StoredEvent | None:
    """Return the first event of a window with nothing before it: the room began with it, or was joined elsewhere."""
    first = window.first
    return first if window.before is None and first is not None and window.tells_state_of(first) else None


def _but_for(event: StoredEvent, state: Mapping[StateKey, StoredEvent]) -> dict[StateKey, StoredEvent]:
    return {key: stored for key, stored in state.items() if stored != event}
