"""What a viewer is told of the rooms of a plan: the windows, what belongs to them, and the news made of both."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from tricord.homeserver.clock import Clock
from tricord.homeserver.push.counts import Count, NotificationCounts
from tricord.homeserver.rooms.aggregations import Aggregation, Aggregations
from tricord.homeserver.rooms.client_format import Reader
from tricord.homeserver.rooms.memberships import Memberships
from tricord.homeserver.rooms.preferences import Preferences
from tricord.homeserver.rooms.stored_event import StoredEvent
from tricord.homeserver.rooms.threads import MAIN
from tricord.homeserver.rooms.unanswered import Unanswered
from tricord.homeserver.rooms.visibility import Visibility
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.receipts import Receipt, receipts_of_user
from tricord.homeserver.sync.delta import Delta, JoinedRoom, Json, LeftRoom, RoomNews
from tricord.homeserver.sync.plan import Plan, Stretch
from tricord.homeserver.sync.room_reads import RoomReads
from tricord.homeserver.sync.sections.account_data import AccountDataNews
from tricord.homeserver.sync.sections.invites import InviteSection
from tricord.homeserver.sync.sections.members import LazyMembers
from tricord.homeserver.sync.sections.rooms import news_for
from tricord.homeserver.sync.sections.summary import SummarySection
from tricord.homeserver.sync.viewer import Viewer
from tricord.homeserver.sync.window import Window, may_be_shared
from tricord.homeserver.sync.windows import Windows, timeline_limit
from tricord.homeserver.together import together
from tricord.protocol.event_filters import Filter
from tricord.protocol.identifiers import EventId, RoomId, UserId
from tricord.protocol.strict_json import JsonObject


@dataclass(frozen=True, slots=True)
class _Facts:
    """What the rooms of a delta are told with, read for all of them at once."""

    summaries: Mapping[RoomId, JsonObject]
    counts: Mapping[RoomId, Mapping[str, Count]]
    # The events that the viewer sees where their place does not say so, with their membership then.
    seen: Mapping[StoredEvent, str]
    aggregations: Mapping[EventId, Aggregation]


@dataclass(frozen=True, slots=True)
class _Shown:
    """What a viewer may see of a window."""

    window: Window
    events: Sequence[StoredEvent]
    # What they were to the room at the events; None: in it, all the time.
    memberships: Mapping[StoredEvent, str] | None = None


class RoomTeller:
    """Tells of rooms."""

    def __init__(
        self,
        database: Database,
        memberships: Memberships,
        visibility: Visibility,
        preferences: Preferences,
        windows: Windows,
        invites: InviteSection,
        members: LazyMembers,
        summaries: SummarySection,
        counts: NotificationCounts,
        aggregations: Aggregations,
        unanswered: Unanswered,
        clock: Clock,
    ) -> None:
        self._database = database
        self._memberships = memberships
        self._visibility = visibility
        self._preferences = preferences
        self._windows = windows
        self._invites = invites
        self._members = members
        self._summaries = summaries
        self._counts = counts
        self._aggregations = aggregations
        self._unanswered = unanswered
        self._clock = clock

    async def tell(
        self, delta: Delta, plan: Plan, data: AccountDataNews, viewer: Viewer, since: int | None, reads: RoomReads
    ) -> None:
        """Put into a delta what there is to tell of the rooms of a plan."""
        joined_windows = await self._read(plan.joined, viewer, reads)
        left_windows = await self._read(plan.left, viewer, reads)
        facts = await self._facts(viewer, joined_windows, left_windows, delta.upto, reads)
        await self._bring_members(viewer, joined_windows, facts, reads)
        ignored = await self._preferences.ignored_by(viewer.user_id)
        joined, left = (
            {room_id: _shown(window, facts, ignored) for room_id, window in reads.readable(windows).items()}
            for windows in (joined_windows, left_windows)
        )
        members = await self._lacking(viewer, since, facts, reads, {**joined, **left})
        told = (stored for shown in (*joined.values(), *left.values()) for stored in shown.events)
        await self._unanswered.wait(Reader(viewer.user_id, viewer.device_id), told)
        for room_id, shown in reads.readable(joined).items():
            with reads.alone(room_id):
                news = self._news(shown, viewer, ignored, members.get(room_id, ()), facts)
                self._tell_joined(delta, shown.window, news, viewer, data.of_rooms.pop(room_id, ()), facts)
        for room_id, shown in reads.readable(left).items():
            with reads.alone(room_id):
                # What passes is for those who are there.
                news = replace(self._news(shown, viewer, ignored, members.get(room_id, ()), facts), ephemeral=())
                delta.left[room_id] = LeftRoom(news, tuple(data.of_rooms.pop(room_id, ())))
        await self._tell_asked(delta, plan, ignored, reads)
        for room_id, own in data.of_rooms.items():
            if viewer.filter.room.allows_room(room_id) and room_id in await self._memberships.joined_rooms(
                viewer.user_id
            ):
                delta.joined[room_id] = JoinedRoom(RoomNews(), tuple(own))

    def _tell_joined(
        self, delta: Delta, window: Window, news: RoomNews, viewer: Viewer, own: Sequence[Json], facts: _Facts
    ) -> None:
        room_id = window.stretch.room_id
        # How many members there are is told even if the filter leaves out that they come and go.
        summary = facts.summaries.get(room_id)
        # One's own receipts change the counts; of others' private ones nobody is told, not even that there are any.
        has_read = any(receipt.user_id == viewer.user_id for receipt in window.receipts)
        if not news and not own and summary is None and not has_read:
            return
        unread, threads = _unread(facts.counts.get(room_id), viewer.filter)
        delta.joined[room_id] = JoinedRoom(news, tuple(own), summary, unread, threads)

    async def _tell_asked(self, delta: Delta, plan: Plan, ignored: frozenset[UserId], reads: RoomReads) -> None:
        """Tell of rooms that the user is asked into, or knocks on."""

        async def stripped(rooms: Mapping[RoomId, EventId]) -> Mapping[RoomId, tuple[Json, ...]]:
            return await self._invites.stripped_state(list(rooms.items()), ignored)

        for told, rooms in ((delta.invited, plan.invited), (delta.knocked, plan.knocked)):
            if rooms:
                told.update(await reads.read(dict(rooms), stripped))

    def _news(
        self,
        shown: _Shown,
        viewer: Viewer,
        ignored: frozenset[UserId],
        members: Sequence[StoredEvent],
        facts: _Facts,
    ) -> RoomNews:
        return news_for(
            shown.window,
            viewer,
            self._clock.now_ms(),
            events=shown.events,
            ignored=ignored,
            memberships=shown.memberships,
            members=members,
            aggregations=facts.aggregations,
        )

    async def _read(self, stretches: Sequence[Stretch], viewer: Viewer, reads: RoomReads) -> Mapping[RoomId, Window]:
        wanted, limit = viewer.filter.room.timeline, timeline_limit(viewer.filter)
        lazily = viewer.filter.room.state.lazy_load_members
        shared: dict[RoomId, Stretch] = {}
        others: dict[RoomId, Stretch] = {}
        for stretch in stretches:
            is_usual = wanted.allows_everything and wanted.allows_room(stretch.room_id) and may_be_shared(stretch)
            (shared if is_usual else others)[stretch.room_id] = stretch

        async def read_shared(some: Mapping[RoomId, Stretch]) -> dict[RoomId, Window]:
            return await self._windows.shared_in_rooms(some.values(), limit, lazily=lazily)

        async def read_others(some: Mapping[RoomId, Stretch]) -> dict[RoomId, Window]:
            return await self._windows.load(list(some.values()), limit, wanted, lazily=lazily)

        windows = await reads.read(shared, read_shared)
        if others:
            windows = {**windows, **await reads.read(others, read_others)}
        return await self._with_own_receipts(viewer, windows, reads)

    async def _with_own_receipts(
        self, viewer: Viewer, windows: Mapping[RoomId, Window], reads: RoomReads
    ) -> Mapping[RoomId, Window]:
        """Add up to where the viewer has read, where that is not among what is told of everybody."""
        lacking = {room_id: window for room_id, window in windows.items() if window.lacks_receipts}
        if not lacking:
            return windows

        async def read(some: Mapping[RoomId, Window]) -> dict[RoomId, Window]:
            missing: dict[RoomId, list[Receipt]] = {}
            for receipt in await self._database.read(receipts_of_user, viewer.user_id, list(some)):
                told = some[receipt.room_id].receipts
                if receipt.position <= told[0].position and receipt not in told:
                    missing.setdefault(receipt.room_id, []).append(receipt)
            return {r: some[r].with_receipts(receipts) for r, receipts in missing.items()}

        return {**windows, **await reads.read(lacking, read)}

    async def _facts(
        self,
        viewer: Viewer,
        joined: Mapping[RoomId, Window],
        left: Mapping[RoomId, Window],
        upto: int,
        reads: RoomReads,
    ) -> _Facts:
        windows = {**joined, **left}
        if any(window.stretch.full_state for window in joined.values()):
            facts = await together(
                self._summed_up(viewer, joined, reads),
                self._unread(viewer, joined, upto, reads),
                self._seen(viewer, windows, reads),
                self._aggregated(viewer, windows, reads),
            )
            return _Facts(*facts)
        # Of what has just happened memory has as good as everything: there is nothing to wait for.
        return _Facts(
            await self._summed_up(viewer, joined, reads),
            await self._unread(viewer, joined, upto, reads),
            await self._seen(viewer, windows, reads),
            await self._aggregated(viewer, windows, reads),
        )

    async def _summed_up(
        self, viewer: Viewer, joined: Mapping[RoomId, Window], reads: RoomReads
    ) -> Mapping[RoomId, JsonObject]:
        async def read(rooms: Collection[RoomId]) -> Mapping[RoomId, JsonObject]:
            return await self._summaries.of(viewer.user_id, rooms)

        concerned = {
            room_id: window
            for room_id, window in joined.items()
            if window.changes_members or window.changes_name or window.stretch.full_state
        }
        return await reads.read(concerned, read)

    async def _unread(
        self, viewer: Viewer, joined: Mapping[RoomId, Window], upto: int, reads: RoomReads
    ) -> Mapping[RoomId, Mapping[str, Count]]:
        async def read(rooms: Collection[RoomId]) -> Mapping[RoomId, Mapping[str, Count]]:
            return await self._counts.by_thread(viewer.user_id, list(rooms), upto)

        concerned = {
            room_id: window
            for room_id, window in joined.items()
            if window.events
            or window.stretch.full_state
            or any(receipt.user_id == viewer.user_id for receipt in window.receipts)
        }
        return await reads.read(concerned, read)

    async def _seen(
        self, viewer: Viewer, windows: Mapping[RoomId, Window], reads: RoomReads
    ) -> Mapping[StoredEvent, str]:
        """Return which events the viewer sees where their place does not say it, and their membership then."""

        async def read(some: Mapping[RoomId, Window]) -> dict[StoredEvent, str]:
            events = [stored for window in some.values() for stored in window.events]
            return {one.stored: one.membership for one in await self._visibility.seen(viewer.user_id, events)}

        return await reads.read({r: w for r, w in windows.items() if not w.stretch.all_visible}, read)

    async def _aggregated(
        self, viewer: Viewer, windows: Mapping[RoomId, Window], reads: RoomReads
    ) -> Mapping[EventId, Aggregation]:
        """Return what relates to events of timelines that do not reach back to where the client was.

        It may not have what came between; of other timelines it has all that relates to their events.
        """

        async def read(some: Mapping[RoomId, Window]) -> Mapping[EventId, Aggregation]:
            return await self._aggregations.of(
                viewer.user_id,
                [e for w in some.values() for e in w.events if w.kinds is None or e.event.event_id in w.kinds],
            )

        return await reads.read({r: w for r, w in windows.items() if w.tells_of_relations}, read)

    async def _bring_members(
        self, viewer: Viewer, windows: Mapping[RoomId, Window], facts: _Facts, reads: RoomReads
    ) -> None:
        """Read the members that clients need which do not want all of them."""
        wanted = {
            room_id: (window, {viewer.user_id, *window.senders, *_heroes(facts, room_id)})
            for room_id, window in windows.items()
            if window.lazily
        }

        async def add(some: Mapping[RoomId, tuple[Window, Collection[UserId]]]) -> dict[RoomId, Window]:
            await self._windows.add_members(some.values())
            return {}

        await reads.read(wanted, add)

    async def _lacking(
        self,
        viewer: Viewer,
        since: int | None,
        facts: _Facts,
        reads: RoomReads,
        rooms: Mapping[RoomId, _Shown],
    ) -> Mapping[RoomId, Sequence[StoredEvent]]:
        """Return the members that a client lacks which loads them lazily."""
        if not viewer.filter.room.state.lazy_load_members:
            return {}

        async def read(
            some: Mapping[RoomId, tuple[Window, Iterable[UserId]]],
        ) -> Mapping[RoomId, Sequence[StoredEvent]]:
            return await self._members.lacking(viewer, some.values(), since)

        needed = {
            room_id: (shown.window, {*(stored.event.sender for stored in shown.events), *_heroes(facts, room_id)})
            for room_id, shown in rooms.items()
        }
        return await reads.read(needed, read)


def _heroes(facts: _Facts, room_id: RoomId) -> Iterable[UserId]:
    heroes: Iterable[UserId] = facts.summaries.get(room_id, {}).get("m.heroes", ())
    return heroes


def _shown(window: Window, facts: _Facts, ignored: frozenset[UserId]) -> _Shown:
    """Return what the viewer may see of a window, and wants to hear."""
    if not window.stretch.all_visible:
        memberships = {stored: facts.seen[stored] for stored in window.events if stored in facts.seen}
        if len(memberships) < len(window.events):
            window = window.without([stored for stored in window.events if stored not in memberships])
        joined_all_along = all(membership == "join" for membership in memberships.values())
        return _Shown(window, window.events, None if joined_all_along else memberships)
    if ignored.isdisjoint(window.senders):
        return _Shown(window, window.events)
    return _Shown(window, [e for e in window.events if e.event.is_state or e.event.sender not in ignored])


def _unread(
    by_thread: Mapping[str, Count] | None, wanted: Filter
) -> tuple[Count | None, Mapping[EventId, Count] | None]:
    """Return the counts of the room and of its threads, as far as the client tells them apart."""
    if by_thread is None:
        return None, None
    if wanted.room.timeline.unread_thread_notifications:
        threads = {EventId(root): count for root, count in by_thread.items() if root != MAIN}
        return by_thread.get(MAIN, Count()), threads
    total = Count(
        sum(count.notifications for count in by_thread.values()),
        sum(count.highlights for count in by_thread.values()),
    )
    return total, None
