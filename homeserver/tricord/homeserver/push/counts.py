"""How much waits to be read: the events since a user's receipts that their push rules notify them of.

Nothing is stored. For each user and room the unread notifications are kept in memory, each with its place and
thread, as far as they have been counted: what is new is added, what a receipt covers is dropped, and what
memory has lost is counted again from the log, and so is a room where something was redacted: that counts no more, and
what related to it may have lost its thread. So a count cannot drift from the events and receipts it stands for.
https://spec.matrix.org/v1.19/client-server-api/#receiving-notifications

What people say whom the user ignores does not wait to be read: it is never shown.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tricord.homeserver.generations import Generations
from tricord.homeserver.push.rules import PushRules, UserRules
from tricord.homeserver.rooms.memberships import Memberships
from tricord.homeserver.rooms.preferences import Preferences
from tricord.homeserver.rooms.retention import Retention
from tricord.homeserver.rooms.state import RoomState
from tricord.homeserver.rooms.stored_event import StateKey, StoredEvent
from tricord.homeserver.rooms.threads import MAIN, relation, thread_of
from tricord.homeserver.rooms.timeline import Timeline
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.receipts import UNTHREADED, Receipt, receipts_of_user
from tricord.homeserver.stream.recent_changes import RecentChanges
from tricord.homeserver.together import together
from tricord.protocol.identifiers import RoomId, UserId
from tricord.protocol.power_levels import PowerLevels
from tricord.protocol.push_rules import Outcome, PushedEvent

# What lies further back than this many events is not counted: "many" is as good.
_MOST_COUNTED = 200
_BUDGET = 32 << 20
# What it takes to remember that nothing is unread, and of each event that is: most of it is the same for all users.
_COUNTED_BYTES, _UNREAD_BYTES = 670, 24
_MOST_EVENTS = 1_000
# What says how much somebody may do in a room.
_LEVELS: tuple[StateKey, ...] = (("m.room.create", ""), ("m.room.power_levels", ""))


class Count(NamedTuple):
    """How many events wait to be read, and how many of them are highlighted."""

    notifications: int = 0
    highlights: int = 0


_NOTHING = Count()


class Notified(NamedTuple):
    """An event that a user is notified of, and how."""

    stored: StoredEvent
    outcome: Outcome


class _Unread(NamedTuple):
    position: int
    thread: str
    outcome: Outcome
    sent_ts: int


@dataclass(slots=True)
class _Pushed:
    """An event as push rules see it."""

    event: PushedEvent
    thread: str
    _unread: list[_Unread] = field(default_factory=list)

    def unread(self, stored: StoredEvent, outcome: Outcome) -> _Unread:
        """Return the event as users do not have read it: one object for all whom it concerns alike."""
        for known in self._unread:
            if known.outcome is outcome:
                return known
        made = _Unread(stored.place.position, self.thread, outcome, stored.event.origin_server_ts)
        self._unread.append(made)
        return made


@dataclass(slots=True)
class _Counted:
    """What a user has not read in a room, as far as it has been counted."""

    upto: int
    receipts_upto: int
    rules: UserRules
    ignored: frozenset[UserId]
    # Whether the log has been asked at least once.
    is_complete: bool = False
    read: dict[str, int] = field(default_factory=dict)
    # Oldest first; changed only here, together with the counts of each thread that has some.
    unread: list[_Unread] = field(default_factory=list)
    by_thread: dict[str, Count] = field(default_factory=dict)
    # The bytes that count towards the budget.
    accounted: int = 0

    def begin(self, joined: int, receipts: Iterable[Receipt]) -> None:
        """Count from the start: from where everything has been read, or the user has come in."""
        self.read, self.unread, self.by_thread, self.is_complete = {}, [], {}, False
        self.apply(receipts)
        self.upto = max(self.read.get(UNTHREADED, 0), joined)

    def apply(self, receipts: Iterable[Receipt]) -> None:
        """Drop what receipts cover."""
        for receipt in receipts:
            if receipt.event_position is not None:
                self.read_upto(receipt.thread_id, receipt.event_position)

    def is_read(self, thread: str, position: int) -> bool:
        """Return whether a receipt covers what is at a position of a thread."""
        return position <= self.read.get(UNTHREADED, 0) or position <= self.read.get(thread, 0)

    def read_upto(self, thread: str, position: int) -> None:
        """Drop what has been read."""
        if position > self.read.get(thread, 0):
            self.read[thread] = position
            if self.unread:
                self._keep([one for one in self.unread if not self.is_read(one.thread, one.position)])

    def drop_sent_until(self, ts: int) -> None:
        """Drop what nobody can read any more."""
        if self.unread:
            self._keep([one for one in self.unread if one.sent_ts > ts])

    def add(self, one: _Unread) -> None:
        """Add what is unread, in place of the first of them if there are many."""
        self.unread.append(one)
        self._count(one, 1)
        if len(self.unread) > _MOST_COUNTED:
            self._count(self.unread.pop(0), -1)

    def _keep(self, unread: list[_Unread]) -> None:
        if len(unread) < len(self.unread):
            self.unread, self.by_thread = unread, {}
            for one in unread:
                self._count(one, 1)

    def _count(self, one: _Unread, number: int) -> None:
        count = self.by_thread.pop(one.thread, _NOTHING)
        notifications = count.notifications + number
        if notifications:
            highlights = count.highlights + (number if one.outcome.highlight else 0)
            self.by_thread[one.thread] = Count(notifications, highlights)


class NotificationCounts:
    """Counts unread notifications."""

    def __init__(
        self,
        database: Database,
        timeline: Timeline,
        state: RoomState,
        memberships: Memberships,
        rules: PushRules,
        changes: RecentChanges,
        preferences: Preferences,
        retention: Retention | None = None,
    ) -> None:
        self._database = database
        self._timeline = timeline
        self._state = state
        self._memberships = memberships
        self._rules = rules
        self._changes = changes
        self._preferences = preferences
        self._retention = retention
        self._counted: OrderedDict[tuple[UserId, RoomId], _Counted] = OrderedDict()
        self._size = 0
        # Events as push rules see them: made once, evaluated for every member.
        self._events: Generations[int, _Pushed] = Generations(_MOST_EVENTS)
        # The last redaction after which they were all made anew.
        self._redacted_upto = 0

    async def by_thread(
        self, user_id: UserId, room_ids: Collection[RoomId], upto: int
    ) -> dict[RoomId, Mapping[str, Count]]:
        """Return the counts of each thread with something unread (`main`, or a root), in rooms the user is in."""
        counted = await self._counted_in(user_id, room_ids, upto)
        # Copies: what comes next changes what is kept.
        return {room_id: of_room.by_thread.copy() for room_id, of_room in counted.items()}

    async def total(self, user_id: UserId, room_ids: Collection[RoomId], upto: int) -> int:
        """Return how many events of some rooms together wait to be read."""
        counts = await self.by_thread(user_id, room_ids, upto)
        return sum(count.notifications for by_thread in counts.values() for count in by_thread.values())

    async def notified(self, user_id: UserId, room_ids: Collection[RoomId], after: int, upto: int) -> list[Notified]:
        """Return what came between two positions and is unread, in order; of a room no more than is counted."""
        news: dict[RoomId, dict[int, Outcome]] = {}
        for room_id, counted in (await self._counted_in(user_id, room_ids, upto)).items():
            if found := {one.position: one.outcome for one in counted.unread if after < one.position <= upto}:
                news[room_id] = found
        if not news:
            return []
        read = await self._timeline.recent_in_rooms(dict.fromkeys(news, after), upto=upto, limit=_MOST_COUNTED)
        found_events = [
            Notified(stored, news[room_id][stored.place.position])
            for room_id, stretch in read.items()
            for stored in stretch.events
            if stored.place.position in news[room_id]
        ]
        return sorted(found_events, key=lambda one: one.stored.place)

    async def judged(self, user_id: UserId, events: Iterable[StoredEvent]) -> list[Notified]:
        """Return those of some events that a user is notified of, whether they have read them or not."""
        rules, ignored = await self._rules.of(user_id), await self._preferences.ignored_by(user_id)
        judged = []
        names: dict[RoomId, str | None] = {}
        for stored in events:
            if stored.event.sender != user_id and not _is_unheard(stored, user_id, ignored):
                room_id = stored.event.room_id
                if room_id not in names:
                    names[room_id] = await self._name_looked_for(user_id, room_id, rules)
                outcome = rules.compiled.evaluate((await self._pushed(stored)).event, names[room_id])
                if outcome.notify:
                    judged.append(Notified(stored, outcome))
        return judged

    async def read_up_to(
        self, user_id: UserId, room_ids: Collection[RoomId], upto: int
    ) -> dict[RoomId, dict[str, int]]:
        """Return up to where a user has read each thread of some rooms."""
        counted = await self._counted_in(user_id, room_ids, upto)
        return {room_id: of_room.read for room_id, of_room in counted.items()}

    async def thread_of(self, stored: StoredEvent) -> str:
        """Return the thread of an event, as receipts name it."""
        return (await self._pushed(stored)).thread

    async def _counted_in(self, user_id: UserId, room_ids: Collection[RoomId], upto: int) -> dict[RoomId, _Counted]:
        """Return what is unread in some rooms, counted up to a position."""
        rules = self._rules.remembered(user_id) or await self._rules.of(user_id)
        ignored = await self._preferences.ignored_by(user_id)
        # Kept here as well: while this waits, others may have it forgotten.
        found: dict[RoomId, _Counted] = {}
        missing: list[RoomId] = []
        for room_id in room_ids:
            counted = self._counted.get((user_id, room_id))
            if counted is None or counted.rules is not rules or counted.ignored != ignored:
                missing.append(room_id)
            else:
                found[room_id] = counted
        if missing:
            found |= await self._begin(user_id, missing, rules, ignored, upto)
        horizons = {} if self._retention is None else await self._retention.horizons(room_ids)
        for room_id, counted in found.items():
            await self._catch_up(user_id, room_id, counted, upto)
            if (horizon := horizons.get(room_id)) is not None:
                counted.drop_sent_until(horizon)
        self._account(user_id, found)
        return found

    async def _begin(
        self,
        user_id: UserId,
        room_ids: Collection[RoomId],
        rules: UserRules,
        ignored: frozenset[UserId],
        upto: int,
    ) -> dict[RoomId, _Counted]:
        receipts: dict[RoomId, list[Receipt]] = {}
        for receipt in await self._database.read(receipts_of_user, user_id, list(room_ids)):
            receipts.setdefault(receipt.room_id, []).append(receipt)
        memberships = await self._memberships.memberships(user_id, room_ids)
        begun: dict[RoomId, _Counted] = {}
        for room_id in room_ids:
            membership = memberships.get(room_id)
            counted = begun[room_id] = _Counted(upto=0, receipts_upto=upto, rules=rules, ignored=ignored)
            counted.begin(membership.since if membership else 0, receipts.get(room_id, ()))
            if (before := self._counted.get((user_id, room_id))) is not None:
                self._size -= before.accounted
            self._counted[user_id, room_id] = counted
        if len(room_ids) > 1:
            after = {room_id: counted.upto for room_id, counted in begun.items()}
            read = await self._timeline.recent_in_rooms(after, upto=upto, limit=_MOST_COUNTED)
            # What push rules look at is then in memory for all rooms.
            lively = [room_id for room_id, stretch in read.items() if stretch.events]
            await together(
                self._state.current_in_rooms(dict.fromkeys(lively, _LEVELS)),
                self._memberships.counts(lively),
            )
            for room_id, stretch in read.items():
                await self._count(user_id, begun[room_id], after[room_id], upto, stretch.events)
        return begun

    async def _catch_up(self, user_id: UserId, room_id: RoomId, counted: _Counted, upto: int) -> None:
        while counted.upto < upto:
            before = counted.upto
            events: Sequence[StoredEvent] = ()
            if not counted.is_complete or self._changes.room_changed(room_id, before):
                read = await self._timeline.recent(room_id, after=before, upto=upto, limit=_MOST_COUNTED)
                events = read.events
            redactions = [stored for stored in events if stored.event.redacts is not None]
            if redactions and counted.is_complete:
                self._make_events_anew(redactions[-1].place.position)
                membership = (await self._memberships.memberships(user_id, [room_id])).get(room_id)
                receipts = await self._database.read(receipts_of_user, user_id, [room_id])
                if counted.upto == before:
                    counted.begin(membership.since if membership else 0, receipts)
                continue
            await self._count(user_id, counted, before, upto, events)
        if self._changes.passing_changed(room_id, counted.receipts_upto):
            counted.apply(await self._database.read(receipts_of_user, user_id, [room_id]))
        counted.receipts_upto = max(counted.receipts_upto, upto)
        counted.is_complete = True

    async def _count(
        self, user_id: UserId, counted: _Counted, after: int, upto: int, events: Sequence[StoredEvent]
    ) -> None:
        new = [(stored, await self._pushed(stored)) for stored in events]
        name = await self._name_looked_for(user_id, events[0].event.room_id, counted.rules) if events else None
        # Another device of the user may have counted the same meanwhile.
        if counted.upto == after:
            _add(user_id, name, counted, new)
            counted.upto = upto

    async def _name_looked_for(self, user_id: UserId, room_id: RoomId, rules: UserRules) -> str | None:
        """Return a user's display name in a room; None if they have none, or no rule of theirs looks for it."""
        if not rules.compiled.look_for_display_name:
            return None
        key = ("m.room.member", user_id)
        member = (await self._state.current(room_id, [key])).get(key)
        name = None if member is None else member.event.content.get("displayname")
        return name if isinstance(name, str) else None

    async def _pushed(self, stored: StoredEvent) -> _Pushed:
        if (known := self._events.get(stored.nid)) is not None:
            return known
        event = stored.event
        state = await self._state.current(event.room_id, _LEVELS)
        create, levels = (state.get(key) for key in _LEVELS)
        members = (await self._memberships.counts([event.room_id])).get(event.room_id)
        power = None if create is None else PowerLevels(create.event, None if levels is None else levels.event)
        notifications = {} if levels is None else levels.event.content.get("notifications")
        pushed = PushedEvent(
            # The room's id is not in every version's events.
            {**event.pdu, "room_id": event.room_id},
            member_count=members.joined if members else 0,
            sender_level=0 if power is None else power.of_user(event.sender),
            notification_levels=notifications if isinstance(notifications, dict) else None,
        )
        made = _Pushed(pushed, await self._thread_of(stored))
        self._events.put(stored.nid, made)
        return made

    def let_go(self) -> None:
        """Forget how push rules see events for whom nobody has been counted lately; called every minute."""
        self._events.age()

    def _make_events_anew(self, redacted_upto: int) -> None:
        """Forget how push rules see events; once for all users who come by the same redaction."""
        if redacted_upto > self._redacted_upto:
            self._redacted_upto = redacted_upto
            self._events.clear()

    async def _thread_of(self, stored: StoredEvent) -> str:
        return MAIN if relation(stored.event) is None else await thread_of(stored.event, self._timeline.event)

    def _account(self, user_id: UserId, used: Mapping[RoomId, _Counted]) -> None:
        """Note that some counts have just been used, and forget those that have not been for the longest time."""
        for room_id, counted in used.items():
            key = user_id, room_id
            if self._counted.get(key) is counted:
                size = _COUNTED_BYTES + _UNREAD_BYTES * len(counted.unread)
                self._size += size - counted.accounted
                counted.accounted = size
                self._counted.move_to_end(key)
        while self._size > _BUDGET:
            _, forgotten = self._counted.popitem(last=False)
            self._size -= forgotten.accounted


def _add(
    user_id: UserId, display_name: str | None, counted: _Counted, events: Iterable[tuple[StoredEvent, _Pushed]]
) -> None:
    for stored, pushed in events:
        thread = pushed.thread
        if stored.redacted_because is not None:
            continue
        if stored.event.sender == user_id:
            # Whoever says something has read what was said before.
            counted.read_upto(thread, stored.place.position)
            continue
        if _is_unheard(stored, user_id, counted.ignored):
            continue
        # A receipt may be ahead of what was counted.
        if counted.is_read(thread, stored.place.position):
            continue
        outcome = counted.rules.compiled.evaluate(pushed.event, display_name)
        if outcome.notify:
            counted.add(pushed.unread(stored, outcome))


def _is_unheard(stored: StoredEvent, user_id: UserId, ignored: Container[UserId]) -> bool:
    """Return whether a user is not told of an event because they ignore its sender: of state they are.

    Not of invitations, though: https://spec.matrix.org/v1.19/client-server-api/#ignoring-users
    """
    event = stored.event
    if event.sender not in ignored:
        return False
    return not event.is_state or (
        stored.key == ("m.room.member", user_id) and event.content.get("membership") == "invite"
    )
