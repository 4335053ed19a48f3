"""What changed for a user between two positions: the one answer that every kind of sync encodes.

A delta is made in three steps: the plan (which rooms, which stretch of each), the windows (what happened
there, read for everybody at once), and the news (what this viewer is told of it). Its cost follows what
changed: rooms where nothing did are not looked at, and what a thousand viewers are told alike is read and
encoded once.

A room that cannot be read is left out, and harms only itself; a database that is away fails the whole, since who asks
again from the same position then loses nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import structlog
import trio

from tricord.homeserver.clock import Clock
from tricord.homeserver.push.counts import Count, NotificationCounts
from tricord.homeserver.rooms.aggregations import Aggregation, Aggregations
from tricord.homeserver.rooms.memberships import Memberships
from tricord.homeserver.rooms.partial_rooms import PartialRooms
from tricord.homeserver.rooms.preferences import Preferences
from tricord.homeserver.rooms.state import RoomState
from tricord.homeserver.rooms.stored_event import StoredEvent
from tricord.homeserver.rooms.threads import MAIN
from tricord.homeserver.rooms.timeline import Timeline
from tricord.homeserver.rooms.visibility import Visibility
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.errors import DatabaseUnavailable
from tricord.homeserver.storage.stream import current_position
from tricord.homeserver.stream.publisher import Publisher, Subscription
from tricord.homeserver.stream.recent_changes import RecentChanges
from tricord.homeserver.stream.tokens import decode_token
from tricord.homeserver.sync.delta import Delta, JoinedRoom, Json, LeftRoom, RoomNews
from tricord.homeserver.sync.plan import Membership, Plan, Stretch, changed_plan, initial_plan
from tricord.homeserver.sync.sections.account_data import AccountDataNews, AccountDataSection
from tricord.homeserver.sync.sections.devices import DevicesSection
from tricord.homeserver.sync.sections.invites import InviteSection
from tricord.homeserver.sync.sections.members import LazyMembers
from tricord.homeserver.sync.sections.presence import PresenceSection
from tricord.homeserver.sync.sections.rooms import news_for
from tricord.homeserver.sync.sections.summary import SummarySection
from tricord.homeserver.sync.viewer import Viewer
from tricord.homeserver.sync.windows import MEMBER, Window, Windows, timeline_limit
from tricord.homeserver.together import together
from tricord.protocol.errors import InvalidParam
from tricord.protocol.event_filters import Filter
from tricord.protocol.identifiers import EventId, RoomId, UserId
from tricord.protocol.strict_json import JsonObject

_logger = structlog.get_logger(__name__)

# How long a position that another process gave out is waited for here.
_CATCH_UP_SECONDS = 2
# How many changes of one membership are followed back.
_MOST_CHANGES = 100
_OUTSIDE = ("leave", "ban")


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


class SyncEngine:
    """Says what changed."""

    def __init__(
        self,
        database: Database,
        publisher: Publisher,
        changes: RecentChanges,
        timeline: Timeline,
        state: RoomState,
        memberships: Memberships,
        partial_rooms: PartialRooms,
        visibility: Visibility,
        preferences: Preferences,
        windows: Windows,
        account_data: AccountDataSection,
        invites: InviteSection,
        members: LazyMembers,
        presence: PresenceSection,
        summaries: SummarySection,
        counts: NotificationCounts,
        devices: DevicesSection,
        aggregations: Aggregations,
        clock: Clock,
    ) -> None:
        self._database = database
        self._publisher = publisher
        self._changes = changes
        self._timeline = timeline
        self._state = state
        self._memberships = memberships
        self._partial_rooms = partial_rooms
        self._visibility = visibility
        self._preferences = preferences
        self._windows = windows
        self._account_data = account_data
        self._invites = invites
        self._members = members
        self._presence = presence
        self._summaries = summaries
        self._counts = counts
        self._devices = devices
        self._aggregations = aggregations
        self._clock = clock

    async def checked_position(self, token: str | None) -> int | None:
        """Return the position of a token; refuse one that this server cannot have given out."""
        if token is None:
            return None
        position = decode_token(token)
        if position <= self._publisher.position:
            return position
        if position > await self._database.read(current_position):
            raise InvalidParam("this position was never given out")
        # Another process has given it out, and we shall hear of it in a moment.
        with trio.move_on_after(_CATCH_UP_SECONDS):
            while self._publisher.position < position:  # noqa: ASYNC110 - a rare case, and a short one
                await trio.sleep(0.01)
        return min(position, self._publisher.position)

    async def note_received(self, viewer: Viewer, position: int) -> None:
        """Note that a viewer has everything up to a position: they have come back with its token."""
        await self._devices.note_received(viewer, position)

    @asynccontextmanager
    async def follow(self, viewer: Viewer) -> AsyncIterator[Following]:
        """Follow what changes for a viewer."""
        rooms = await self._memberships.joined_rooms(viewer.user_id)
        with self._publisher.subscribe(viewer.user_id, rooms) as subscription:
            yield Following(self, self._publisher, self._memberships, viewer, subscription)

    async def next_delta(
        self, viewer: Viewer, since: int | None, *, at_once: bool, deadline: float = float("inf")
    ) -> Delta:
        """Return the next delta with something in it; an empty one at the deadline, or `at_once`."""
        if since is None or at_once:
            return await self.delta(viewer, since, self._publisher.position)
        async with self.follow(viewer) as following:
            return await following.next_delta(since, deadline=deadline)

    async def delta(self, viewer: Viewer, since: int | None, upto: int) -> Delta:
        """Return what changed after one position (None: everything), up to another."""
        delta = Delta(upto)
        own_things = since is None or self._changes.user_changed(viewer.user_id, since)
        data = AccountDataNews()
        if own_things:
            data = await self._account_data.changes(viewer, since or 0, upto, everything=since is None)
        plan = await self._plan(viewer, since, upto, own_things=own_things)
        if not viewer.filter.room.state.lazy_load_members:
            await self._leave_out_partial_rooms(plan, viewer, since, upto)
        await self._tell_rooms(delta, plan, data, viewer, since)
        delta.account_data = tuple(data.of_account)
        if since is None:
            delta.presence = await self._presence.everybody(viewer)
        elif own_things:
            newly = [stretch.room_id for stretch in plan.joined if stretch.full_state and not viewer.full_state]
            delta.presence = await self._presence.changes(viewer, since, upto, newly)
        delta.devices = await self._devices.news(viewer, since, upto)
        return delta

    async def _plan(self, viewer: Viewer, since: int | None, upto: int, *, own_things: bool) -> Plan:
        wanted = viewer.filter.room
        if since is None:
            rows = await self._memberships.rooms_of(viewer.user_id)
            late = [row for row in rows.values() if row.position > upto]
            known: dict[RoomId, Sequence[Membership]] = {
                r: [Membership(m.membership, m.event_id, m.position)] for r, m in rows.items()
            }
            for row in late:
                known[row.room_id] = [
                    m for m in await self._history(row.event_id, 0, row.position) if m.position <= upto
                ]
            if wanted.include_leave:
                for room_id in [r for r, history in known.items() if history and history[-1].membership in _OUTSIDE]:
                    known[room_id] = await self._history(known[room_id][-1].event_id, 0, known[room_id][-1].position)
            return initial_plan({r: history for r, history in known.items() if history}, upto, wanted)
        histories: dict[RoomId, Sequence[Membership]] = {}
        if own_things:
            for room_id, row in (await self._memberships.rooms_of(viewer.user_id)).items():
                if row.position > since and row.since > since:
                    histories[room_id] = await self._history(row.event_id, since, row.position)
        joined = await self._memberships.joined_rooms(viewer.user_id)
        changed = await self._windows.rooms_changed(joined, since, upto)
        for room_id in changed:
            if room_id not in histories:
                member = await self._member_event(room_id, viewer.user_id)
                if member is not None and (member.position or 0) > since:
                    # A new name; or joined just now, and not announced yet: then they have not been in it all along.
                    histories[room_id] = await self._history(member.event.event_id, since)
        plan = changed_plan(changed, histories, since, upto, wanted)
        if viewer.full_state:
            told = {stretch.room_id for stretch in plan.joined}
            untouched = [r for r in joined if r not in told and r not in histories and wanted.allows_room(r)]
            plan.joined += [Stretch(room_id, since, upto, all_visible=True) for room_id in untouched]
            plan.joined = [replace(stretch, full_state=True) for stretch in plan.joined]
        return plan

    async def _leave_out_partial_rooms(self, plan: Plan, viewer: Viewer, since: int | None, upto: int) -> None:
        """Tell who wants all members at once of a room only when they are all known; then, of all of it."""
        rooms = await self._partial_rooms.all()
        if not rooms:
            return
        joined = await self._memberships.joined_rooms(viewer.user_id)
        hidden, new = set(), []
        for room_id, partial in rooms.items():
            if partial.complete_position is None or partial.complete_position > upto:
                hidden.add(room_id)
            elif since is not None and since < partial.complete_position:
                hidden.add(room_id)
                if room_id in joined and viewer.filter.room.allows_room(room_id):
                    new.append(Stretch(room_id, 0, upto, full_state=True))
        plan.joined = [stretch for stretch in plan.joined if stretch.room_id not in hidden] + new

    async def _member_event(self, room_id: RoomId, user_id: UserId) -> StoredEvent | None:
        key = (MEMBER, str(user_id))
        return (await self._state.current(room_id, (key,))).get(key)

    async def _history(self, event_id: EventId, after: int, position: int | None = None) -> list[Membership]:
        """Return the memberships of a user in a room up to the given one, from a join at or before `after`.

        `position` is that of the last of them.
        """
        history: list[Membership] = []
        next_id: EventId | None = event_id
        for _ in range(_MOST_CHANGES):
            stored = await self._timeline.event(next_id) if next_id is not None else None
            if stored is None:
                break
            # In a room elsewhere the event has no place, but the membership has one, and nothing is known before it.
            place = position if stored.position is None and not history else stored.position
            if place is None:
                break
            membership = str(stored.event.content.get("membership", "leave"))
            history.append(Membership(membership, stored.event.event_id, place))
            if place <= after and membership == "join":
                break
            next_id = stored.replaces
        history.reverse()
        return history

    async def _tell_rooms(
        self, delta: Delta, plan: Plan, data: AccountDataNews, viewer: Viewer, since: int | None
    ) -> None:
        joined_windows = await self._read(plan.joined, viewer)
        left_windows = await self._read(plan.left, viewer)
        facts = await self._facts(viewer, joined_windows, left_windows, delta.upto)
        await self._bring_members(viewer, joined_windows, facts)
        ignored = await self._preferences.ignored_by(viewer.user_id)
        joined, left = (
            {room_id: _shown(window, facts, ignored) for room_id, window in windows.items()}
            for windows in (joined_windows, left_windows)
        )
        members = await self._lacking(viewer, since, facts, joined, left)
        for room_id, shown in joined.items():
            try:
                news = self._news(shown, viewer, ignored, members.get(room_id, ()), facts)
                self._tell_joined(delta, shown.window, news, viewer, data.of_rooms.pop(room_id, ()), facts)
            except Exception:
                _logger.exception("a room is left out of a sync", room_id=room_id, user_id=viewer.user_id)
        for room_id, shown in left.items():
            try:
                # What passes is for those who are there.
                news = replace(self._news(shown, viewer, ignored, members.get(room_id, ()), facts), ephemeral=())
                delta.left[room_id] = LeftRoom(news, tuple(data.of_rooms.pop(room_id, ())))
            except Exception:
                _logger.exception("a room is left out of a sync", room_id=room_id, user_id=viewer.user_id)
        for told, rooms in ((delta.invited, plan.invited), (delta.knocked, plan.knocked)):
            if rooms:
                told.update(await self._invites.stripped_state(rooms, ignored))
        for room_id, own in data.of_rooms.items():
            if viewer.filter.room.allows_room(room_id) and room_id in await self._memberships.joined_rooms(
                viewer.user_id
            ):
                delta.joined[room_id] = JoinedRoom(RoomNews(), tuple(own))

    def _tell_joined(
        self, delta: Delta, window: Window, news: RoomNews, viewer: Viewer, own: Sequence[Json], facts: _Facts
    ) -> None:
        room_id = window.stretch.room_id
        # One's own receipts change the counts; of others' private ones nobody is told, not even that there are any.
        if not news and not own and not any(receipt.user_id == viewer.user_id for receipt in window.receipts):
            return
        unread, threads = _unread(facts.counts.get(room_id), viewer.filter)
        delta.joined[room_id] = JoinedRoom(news, tuple(own), facts.summaries.get(room_id), unread, threads)

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

    async def _lacking(
        self, viewer: Viewer, since: int | None, facts: _Facts, *sections: dict[RoomId, _Shown]
    ) -> Mapping[RoomId, Sequence[StoredEvent]]:
        """Return the members that a client lacks which loads them lazily; rooms where that fails are taken out."""
        if not viewer.filter.room.state.lazy_load_members:
            return {}
        needed = {
            room_id: (
                shown.window,
                {stored.event.sender for stored in shown.events}.union(
                    facts.summaries.get(room_id, {}).get("m.heroes", ())
                ),
            )
            for rooms in sections
            for room_id, shown in rooms.items()
        }
        try:
            return await self._members.lacking(viewer, needed.values(), since)
        except DatabaseUnavailable:
            raise
        except Exception:
            _logger.exception("members could not be read together", user_id=viewer.user_id)
        found: dict[RoomId, Sequence[StoredEvent]] = {}
        for room_id, of_room in needed.items():
            try:
                found.update(await self._members.lacking(viewer, [of_room], since))
            except DatabaseUnavailable:
                raise
            except Exception:
                _logger.exception("a room is left out of a sync", room_id=room_id, user_id=viewer.user_id)
                for rooms in sections:
                    rooms.pop(room_id, None)
        return found

    async def _facts(
        self, viewer: Viewer, joined: dict[RoomId, Window], left: dict[RoomId, Window], upto: int
    ) -> _Facts:
        user_id = viewer.user_id
        summed_up = [r for r, w in joined.items() if w.changes_members or w.stretch.full_state]
        if any(window.stretch.full_state for window in joined.values()):
            facts = await together(
                self._summaries.of(user_id, summed_up),
                self._unread(viewer, joined, upto),
                self._seen(viewer, joined, left),
                self._aggregated(viewer, joined, left),
            )
            return _Facts(*facts)
        # Of what has just happened memory has as good as everything: there is nothing to wait for.
        return _Facts(
            await self._summaries.of(user_id, summed_up),
            await self._unread(viewer, joined, upto),
            await self._seen(viewer, joined, left),
            await self._aggregated(viewer, joined, left),
        )

    async def _bring_members(self, viewer: Viewer, windows: dict[RoomId, Window], facts: _Facts) -> None:
        """Read the members that clients need which do not want all of them; rooms where that fails are taken out."""
        wanted = {
            room_id: (
                window,
                {viewer.user_id, *window.senders, *facts.summaries.get(room_id, {}).get("m.heroes", ())},
            )
            for room_id, window in windows.items()
            if window.lazily
        }
        if not wanted:
            return
        try:
            await self._windows.add_members(wanted.values())
            return
        except DatabaseUnavailable:
            raise
        except Exception:
            _logger.exception("members could not be read together", user_id=viewer.user_id)
        for room_id, of_room in wanted.items():
            try:
                await self._windows.add_members([of_room])
            except DatabaseUnavailable:
                raise
            except Exception:
                _logger.exception("a room is left out of a sync", room_id=room_id, user_id=viewer.user_id)
                del windows[room_id]

    async def _aggregated(self, viewer: Viewer, *sections: Mapping[RoomId, Window]) -> Mapping[EventId, Aggregation]:
        """Return what relates to events of timelines that do not reach back to where the client was.

        It may not have what came between; of other timelines it has all that relates to their events.
        """
        events = [
            stored
            for windows in sections
            for window in windows.values()
            if window.limited or window.stretch.full_state
            for stored in window.events
        ]
        try:
            return await self._aggregations.of(viewer.user_id, events)
        except DatabaseUnavailable:
            raise
        except Exception:
            # Clients can do without, and ask for it.
            _logger.exception("relations are left out of a sync", user_id=viewer.user_id)
            return {}

    async def _seen(self, viewer: Viewer, *sections: dict[RoomId, Window]) -> dict[StoredEvent, str]:
        """Return which events the viewer sees where their place does not say it, and their membership then.

        Rooms that cannot be judged are taken out.
        """
        unclear = [window for windows in sections for window in windows.values() if not window.stretch.all_visible]
        try:
            return await self._seen_in(viewer, unclear)
        except DatabaseUnavailable:
            raise
        except Exception:
            _logger.exception("rooms could not be judged together", user_id=viewer.user_id)
        seen: dict[StoredEvent, str] = {}
        for window in unclear:
            room_id = window.stretch.room_id
            try:
                seen |= await self._seen_in(viewer, [window])
            except DatabaseUnavailable:
                raise
            except Exception:
                _logger.exception("a room is left out of a sync", room_id=room_id, user_id=viewer.user_id)
                for windows in sections:
                    windows.pop(room_id, None)
        return seen

    async def _seen_in(self, viewer: Viewer, windows: Iterable[Window]) -> dict[StoredEvent, str]:
        events = [stored for window in windows for stored in window.events]
        return {one.stored: one.membership for one in await self._visibility.seen(viewer.user_id, events)}

    async def _read(self, stretches: Sequence[Stretch], viewer: Viewer) -> dict[RoomId, Window]:
        wanted, limit = viewer.filter.room.timeline, timeline_limit(viewer.filter)
        lazily = viewer.filter.room.state.lazy_load_members
        windows: dict[RoomId, Window] = {}
        shared: list[Stretch] = []
        others: list[Stretch] = []
        for stretch in stretches:
            is_usual = stretch.all_visible and not stretch.full_state and wanted.allows_everything
            (shared if is_usual else others).append(stretch)
        if shared:
            try:
                windows.update(await self._windows.shared_in_rooms(shared, limit))
            except DatabaseUnavailable:
                raise
            except Exception:
                _logger.exception("rooms could not be read together", user_id=viewer.user_id)
                windows.update(await self._read_one_by_one(shared, viewer))
        if others:
            try:
                windows.update(await self._windows.load(others, limit, wanted, lazily=lazily))
            except DatabaseUnavailable:
                raise
            except Exception:
                _logger.exception("rooms could not be read together", user_id=viewer.user_id)
                windows.update(await self._read_one_by_one(others, viewer))
        return windows

    async def _read_one_by_one(self, stretches: Sequence[Stretch], viewer: Viewer) -> dict[RoomId, Window]:
        """Read rooms so that a bad one harms only itself."""
        windows: dict[RoomId, Window] = {}
        for stretch in stretches:
            try:
                wanted, limit = viewer.filter.room.timeline, timeline_limit(viewer.filter)
                lazily = viewer.filter.room.state.lazy_load_members
                windows.update(await self._windows.load([stretch], limit, wanted, lazily=lazily))
            except DatabaseUnavailable:
                raise
            except Exception:
                _logger.exception("a room is left out of a sync", room_id=stretch.room_id, user_id=viewer.user_id)
        return windows

    async def _unread(
        self, viewer: Viewer, windows: Mapping[RoomId, Window], upto: int
    ) -> dict[RoomId, Mapping[str, Count]]:
        concerned = [
            room_id
            for room_id, window in windows.items()
            if window.events
            or window.stretch.full_state
            or any(receipt.user_id == viewer.user_id for receipt in window.receipts)
        ]
        return await self._counts.by_thread(viewer.user_id, concerned, upto) if concerned else {}


def _shown(window: Window, facts: _Facts, ignored: frozenset[UserId]) -> _Shown:
    """Return what the viewer may see of a window, and wants to hear."""
    if not window.stretch.all_visible:
        memberships = {stored: facts.seen[stored] for stored in window.events if stored in facts.seen}
        if len(memberships) < len(window.events):
            window = window.without([stored for stored in window.events if stored not in memberships])
        return _Shown(window, window.events, memberships)
    if ignored.isdisjoint(window.senders):
        return _Shown(window, window.events)
    return _Shown(window, [e for e in window.events if e.event.is_state or e.event.sender not in ignored])


class Following:
    """One viewer's way through the stream."""

    def __init__(
        self,
        engine: SyncEngine,
        publisher: Publisher,
        memberships: Memberships,
        viewer: Viewer,
        subscription: Subscription,
    ) -> None:
        self._engine = engine
        self._publisher = publisher
        self._memberships = memberships
        self._viewer = viewer
        self._subscription = subscription

    async def next_delta(self, since: int | None, *, at_once: bool = False, deadline: float = float("inf")) -> Delta:
        """Return the next delta with something in it; an empty one at the deadline, or `at_once`."""
        while True:
            upto = self._publisher.position
            delta = Delta(upto)
            if since is None or upto > since or at_once or self._viewer.messages_upto is not None:
                delta = await self._engine.delta(self._viewer, since, upto)
                if delta.devices.messages_upto != self._viewer.messages_upto:
                    self._viewer = replace(self._viewer, messages_upto=delta.devices.messages_upto)
            if delta or at_once or since is None:
                return delta
            since = upto
            await self._watch_all_rooms()
            # Only the waiting has an end: what is being read then is read to the end.
            with trio.move_on_at(deadline) as waiting:
                await self._subscription.wait()
            if waiting.cancelled_caught:
                return delta

    async def _watch_all_rooms(self) -> None:
        rooms = await self._memberships.joined_rooms(self._viewer.user_id)
        if rooms is not self._subscription.rooms and rooms != self._subscription.rooms:
            self._subscription.rooms = rooms


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
