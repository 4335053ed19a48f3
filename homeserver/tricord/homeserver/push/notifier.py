"""Notifying users who are not looking: each pusher follows what its user has not read.

What notifies is what counts as unread (`counts.py`), so that nobody is notified of what they have read elsewhere in the
meantime. A pusher notes how far it has come; after a restart it goes on from there. One that fails waits longer and
longer, by itself, and gives up what is too old to be news.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog
import trio

from tricord.homeserver.clock import Clock
from tricord.homeserver.peers.leases import Leases
from tricord.homeserver.push.counts import NotificationCounts, Notified
from tricord.homeserver.push.delivery import Delivered, Delivery
from tricord.homeserver.push.pushers import HTTP, Pushers
from tricord.homeserver.rooms.memberships import Memberships
from tricord.homeserver.rooms.state import RoomState
from tricord.homeserver.rooms.stored_event import StateKey, StoredEvent
from tricord.homeserver.rooms.timeline import Timeline
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.errors import DatabaseError
from tricord.homeserver.storage.grouped_writes import GroupedWrites
from tricord.homeserver.storage.pushers import Pusher, note_pushed
from tricord.homeserver.storage.room_changes import rooms_changed
from tricord.homeserver.stream.publisher import Publisher
from tricord.homeserver.stream.recent_changes import RecentChanges
from tricord.protocol.identifiers import UserId
from tricord.protocol.strict_json import JsonObject

# Sets this work apart from other work that processes share by leases.
LEASE_KIND = 0x7075
_STALE_MS = 24 * 3600 * 1000
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 1.0, 3600.0
_SENDING_AT_ONCE = 200
# Nobody reads more than this at once, and it may all be of one conversation.
_MOST_AT_ONCE = 50
_NAMES: tuple[StateKey, ...] = (("m.room.name", ""), ("m.room.canonical_alias", ""))

_logger = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Progress:
    """How far a pusher is: what has been looked at, what has been told, and what of that is noted."""

    position: int
    told: int = 0
    noted: int = 0
    unread: int = 0
    """How many unread events it was told of last, as its badge shows."""


class Notifier:
    """Runs the pushers."""

    def __init__(
        self,
        database: Database,
        publisher: Publisher,
        changes: RecentChanges,
        memberships: Memberships,
        state: RoomState,
        timeline: Timeline,
        counts: NotificationCounts,
        pushers: Pushers,
        delivery: Delivery,
        clock: Clock,
    ) -> None:
        self._database = database
        self._publisher = publisher
        self._changes = changes
        self._memberships = memberships
        self._state = state
        self._timeline = timeline
        self._counts = counts
        self._pushers = pushers
        self._delivery = delivery
        self._clock = clock
        self._leases = Leases(database, LEASE_KIND)
        self._progress: GroupedWrites[tuple[UserId, str, str, int], None] = GroupedWrites(self._save)
        self._sendings = trio.CapacityLimiter(_SENDING_AT_ONCE)
        self._running: dict[tuple[UserId, str, str], tuple[Pusher, trio.CancelScope]] = {}
        # Whose pushers have to be looked at again; None: everybody's.
        self._changed: set[UserId] | None = None
        self._has_work = trio.Event()
        pushers.on_change(self._note_change)

    async def run(self) -> None:
        """Notify, for ever."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._leases.run, self._note_all_changed)
            while True:
                changed, self._changed = self._changed, set()
                try:
                    await self._start_and_stop(nursery, changed)
                except DatabaseError as error:
                    _logger.warning("pushers cannot be read", reason=str(error))
                    self._note_all_changed()
                    await trio.sleep(1)
                await self._has_work.wait()
                self._has_work = trio.Event()

    def _note_change(self, user_id: UserId) -> None:
        if self._changed is not None:
            self._changed.add(user_id)
        self._has_work.set()

    def _note_all_changed(self) -> None:
        self._changed = None
        self._has_work.set()

    async def _start_and_stop(self, nursery: trio.Nursery, changed: set[UserId] | None) -> None:
        if changed is None:
            there = await self._pushers.everybodys()
        else:
            there = [pusher for user_id in changed for pusher in await self._pushers.of(user_id)]
        wanted = {pusher.name: pusher for pusher in there if self._leases.covers(pusher.user_id)}
        for name, (pusher, scope) in list(self._running.items()):
            is_same = name in wanted and wanted[name].data == pusher.data and wanted[name].kind == pusher.kind
            if (changed is None or pusher.user_id in changed) and not is_same:
                scope.cancel()
                del self._running[name]
        for name, pusher in wanted.items():
            if name not in self._running:
                self._running[name] = (pusher, trio.CancelScope())
                nursery.start_soon(self._follow, pusher, self._running[name][1])

    async def _follow(self, pusher: Pusher, scope: trio.CancelScope) -> None:
        """Notify through one pusher for as long as it is there."""
        progress = _Progress(pusher.position)
        with scope:
            while True:
                try:
                    await self._follow_until_gone(pusher, progress)
                except DatabaseError as error:
                    _logger.warning("a pusher waits for the database", app_id=pusher.app_id, reason=str(error))
                    await trio.sleep(_FIRST_PAUSE_SECONDS)
                else:
                    return

    async def _follow_until_gone(self, pusher: Pusher, progress: _Progress) -> None:
        pause = _FIRST_PAUSE_SECONDS
        rooms = await self._memberships.joined_rooms(pusher.user_id)
        with self._publisher.subscribe(pusher.user_id, rooms) as subscription:
            while True:
                outcome = await self._tell_and_note(pusher, progress)
                if outcome is Delivered.GONE:
                    _logger.info("a pusher is removed: nobody takes its notifications", app_id=pusher.app_id)
                    await self._pushers.remove(*pusher.name)
                    return
                if outcome is Delivered.LATER:
                    await trio.sleep(pause * (0.5 + secrets.randbelow(1000) / 1000))
                    pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
                    continue
                pause = _FIRST_PAUSE_SECONDS
                rooms = await self._memberships.joined_rooms(pusher.user_id)
                if rooms != subscription.rooms:
                    subscription.rooms = rooms
                await subscription.wait()

    async def _tell_and_note(self, pusher: Pusher, progress: _Progress) -> Delivered:
        try:
            outcome = await self._tell(pusher, progress)
            if progress.noted < progress.told:
                await self._progress.submit((*pusher.name, progress.told))
                progress.noted = progress.told
        except Exception:
            _logger.exception("a pusher cannot go on, and tries again", app_id=pusher.app_id)
            return Delivered.LATER
        return outcome

    async def _tell(self, pusher: Pusher, progress: _Progress) -> Delivered:
        """Notify of what has come since."""
        user_id, after, upto = pusher.user_id, progress.position, self._publisher.position
        if upto <= after:
            return Delivered.TAKEN
        joined = await self._memberships.joined_rooms(user_id)
        changed = self._changes.rooms_changed(joined, after, upto)
        if changed is None:
            changed = await self._database.read(rooms_changed, joined, after, upto)
        news = await self._counts.notified(user_id, changed, after, upto)
        if self._changes.user_changed(user_id, after):
            news += await self._invitations(user_id, after, upto)
        oldest = self._clock.now_ms() - _STALE_MS
        news = [one for one in news if one.stored.event.origin_server_ts > oldest][-_MOST_AT_ONCE:]
        unread = await self._counts.total(user_id, joined, upto) if news else 0
        for one in news:
            notification = await self._notification(user_id, one, unread)
            async with self._sendings:
                outcome = await self._delivery.deliver(pusher, notification, one.outcome.tweaks)
            if outcome is not Delivered.TAKEN:
                return outcome
            progress.unread = unread
            if one.stored.position is not None:
                progress.position = progress.told = max(progress.position, one.stored.position)
        if not news and changed and progress.unread and pusher.kind == HTTP:
            outcome = await self._tell_what_is_left(pusher, progress, await self._counts.total(user_id, joined, upto))
            if outcome is not Delivered.TAKEN:
                return outcome
        progress.position = upto
        if news:
            progress.told = upto
        return Delivered.TAKEN

    async def _tell_what_is_left(self, pusher: Pusher, progress: _Progress, unread: int) -> Delivered:
        """Let a phone count less on its badge, once something has been read elsewhere. Browsers show no badges.

        https://spec.matrix.org/v1.19/push-gateway-api/#post_matrixpushv1notify
        """
        if unread >= progress.unread:
            return Delivered.TAKEN
        # Counts of zero may be left out, but then this would say nothing.
        async with self._sendings:
            outcome = await self._delivery.deliver(pusher, {"counts": {"unread": unread}, "prio": "low"}, {})
        if outcome is Delivered.TAKEN:
            progress.unread = unread
        return outcome

    async def _invitations(self, user_id: UserId, after: int, upto: int) -> list[Notified]:
        invited = [
            row.event_id
            for row in await self._memberships.changed(user_id, after=after, upto=upto)
            if row.membership == "invite"
        ]
        events = await self._timeline.events(invited)
        return await self._counts.judged(user_id, list(events.values()))

    async def _notification(self, user_id: UserId, one: Notified, unread: int) -> JsonObject:
        event = one.stored.event
        sender: StateKey = ("m.room.member", str(event.sender))
        state = await self._state.current(event.room_id, (*_NAMES, sender))
        notification: JsonObject = {
            "event_id": event.event_id,
            "room_id": event.room_id,
            "type": event.type,
            "sender": event.sender,
            "content": event.content,
            "counts": {"unread": unread} if unread else {},
            "prio": "high" if one.outcome.highlight or one.outcome.sound or event.type == "m.room.encrypted" else "low",
            **_texts(state, sender),
        }
        if event.type == "m.room.member":
            notification["user_is_target"] = event.state_key == user_id
        return notification

    async def _save(self, progress: Sequence[tuple[UserId, str, str, int]]) -> list[None]:
        await self._database.run(note_pushed, progress)
        return [None] * len(progress)


def _texts(state: Mapping[StateKey, StoredEvent], sender: StateKey) -> dict[str, str]:
    wanted = (
        ("room_name", ("m.room.name", ""), "name"),
        ("room_alias", ("m.room.canonical_alias", ""), "alias"),
        ("sender_display_name", sender, "displayname"),
    )
    found = {}
    for name, key, field in wanted:
        value = state[key].event.content.get(field) if key in state else None
        if isinstance(value, str):
            found[name] = value
    return found
