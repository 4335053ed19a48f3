"""Presence: who is there, worked out from who syncs, who does something, and what users say themselves.

A user is `online` while a client of theirs syncs, `unavailable` after five minutes in which they did nothing, and
`offline` when no client has synced for half a minute. Somebody who sets their own state keeps it until they do
something. Others are told of changes of this state only, never of each sign of life: whoever is online is
`currently_active` until they are idle, and `last_active_ago` says nothing new until then.

What a change costs is telling it: it wakes everybody who shares a room with the user. So the more are woken, the longer
the next changes are gathered before they are told together: to few people at once, to five thousand every ten seconds.
https://spec.matrix.org/v1.19/client-server-api/#presence
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import structlog
import trio

from tricord.homeserver.accounts.presence_elsewhere import PresenceElsewhere
from tricord.homeserver.clock import Clock
from tricord.homeserver.storage.database import Database, Transaction
from tricord.homeserver.storage.errors import DatabaseError
from tricord.homeserver.storage.presence import Presence, presence_of, put_presence, users_present
from tricord.homeserver.storage.stream import take_positions
from tricord.homeserver.stream.publisher import Commit, Publisher
from tricord.protocol.errors import Forbidden
from tricord.protocol.identifiers import RoomId, UserId

ONLINE, UNAVAILABLE, OFFLINE = "online", "unavailable", "offline"
IDLE_AFTER_SECONDS = 5 * 60
OFFLINE_AFTER_SECONDS = 30
# A pause after each telling, by how many it woke: to wake one takes a good part of a millisecond.
PAUSE_SECONDS = 0.002
# What time alone changes is looked for so often, since it takes a look at everybody.
_LOOK_EVERY_SECONDS = 1.0

_logger = structlog.get_logger(__name__)


class Rooms(Protocol):
    """Who may see whom: those who share a room."""

    async def share_a_room(self, one: UserId, other: UserId) -> bool: ...

    async def joined_rooms_of(self, user_ids: Collection[UserId]) -> Mapping[UserId, Collection[RoomId]]: ...

    async def joined_members_in(self, room_ids: Collection[RoomId]) -> Mapping[RoomId, Collection[UserId]]: ...


@dataclass(slots=True)
class _Local:
    """What this process knows of a user whose clients it talks to; times are trio's."""

    presence: Presence
    last_active: float
    # Clients that are syncing now, and until when a client counts as syncing after its last request.
    syncing: int = 0
    here_until: float = 0.0
    # Whether no other process has written anything since that is not known here yet.
    is_current: bool = True

    def next_change(self) -> float:
        """Return when time alone changes the state."""
        if self.presence.state == OFFLINE:
            return float("inf")
        gone = float("inf") if self.syncing else self.here_until
        if self.presence.state != ONLINE:
            return gone
        return min(gone, self.last_active + IDLE_AFTER_SECONDS)


def presence_content(presence: Presence, now_ms: int) -> dict[str, Any]:
    """Return a state as the content of `m.presence`, and as the answer of the endpoint."""
    content: dict[str, Any] = {
        "presence": presence.state,
        "last_active_ago": max(0, now_ms - presence.last_active_ts),
        "currently_active": presence.state == ONLINE and presence.currently_active,
    }
    if presence.status_msg is not None:
        content["status_msg"] = presence.status_msg
    return content


class Presences:
    """The only writer of presence of local users."""

    def __init__(
        self,
        database: Database,
        publisher: Publisher,
        rooms: Rooms,
        clock: Clock,
        *,
        is_local: Callable[[UserId], bool] = lambda _: True,
        enabled: bool = True,
    ) -> None:
        self.enabled = enabled
        self._is_local = is_local
        self._database = database
        self._publisher = publisher
        self._rooms = rooms
        self._clock = clock
        self._locals: dict[UserId, _Local] = {}
        # Users whose state is to be worked out again, and the alarm that says so.
        self._due: dict[UserId, None] = {}
        self._alarm = trio.Event()
        # When time alone will have changed something, and from when on changes are told.
        self._look_at = float("-inf")
        self._tell_at = float("-inf")
        # Held while presence is written, or read again: what is read must not replace what is being written.
        self._settling = trio.Lock()
        # Whose presence another process has written, to be read again.
        self._outdated: set[UserId] = set()
        # Who comes here, and as what, if no other process knows better.
        self._arriving: dict[UserId, str] = {}
        self._elsewhere: PresenceElsewhere | None = None
        if enabled and publisher.has_others:
            self._elsewhere = PresenceElsewhere(
                database, "presence", self._seen_here, self._seen_elsewhere, self._note_written
            )

    @contextmanager
    def syncing(self, user_id: UserId, state: str) -> Iterator[None]:
        """Count a client as there while its sync request lasts, and for a while after; `offline` does not count."""
        if not self.enabled or state == OFFLINE:
            yield
            return
        local = self._local(user_id)
        local.syncing += 1
        if local.presence.state == OFFLINE and self._elsewhere is not None:
            self._arriving[user_id] = state
            self._alarm.set()
        # A default client says `online` with each poll: that wakes no user who is idle.
        elif local.presence.state == OFFLINE or state == UNAVAILABLE != local.presence.state:
            self._change(local, state=state, active=state == ONLINE)
        try:
            yield
        finally:
            local.syncing -= 1
            local.here_until = trio.current_time() + OFFLINE_AFTER_SECONDS
            if (change := local.next_change()) < self._look_at:
                self._look_at = change
                self._alarm.set()

    def active(self, user_id: UserId) -> None:
        """Note that a user does something: sends, reads, moves."""
        if not self.enabled:
            return
        local = self._local(user_id)
        if local.presence.state == ONLINE and local.presence.currently_active:
            # Nobody is told, so nothing is written: this is the usual case, and must cost nothing.
            local.last_active = trio.current_time()
            return
        self._change(local, state=ONLINE, active=True)

    async def set(self, user_id: UserId, state: str, status_msg: str | None) -> None:
        """Take what a user says of themself."""
        if not self.enabled:
            return
        local = self._local(user_id)
        local.here_until = max(local.here_until, trio.current_time() + OFFLINE_AFTER_SECONDS)
        self._change(local, state=state, active=state == ONLINE, status_msg=status_msg)
        if self._tell_at <= trio.current_time():
            await self._write([user_id])

    async def seen_by(self, viewer: UserId, user_id: UserId) -> dict[str, Any]:
        """Return the state of somebody the viewer shares a room with."""
        if viewer != user_id and not await self._rooms.share_a_room(viewer, user_id):
            raise Forbidden(f"you share no room with {user_id}")
        local = self._locals.get(user_id)
        now = self._clock.now_ms()
        if local is not None and local.is_current and local.presence.state != OFFLINE:
            ago = int((trio.current_time() - local.last_active) * 1000)
            return presence_content(replace(local.presence, last_active_ts=now - ago), now)
        stored = await self._database.read(presence_of, [user_id])
        if not stored:
            return {"presence": OFFLINE}
        local = self._locals.get(user_id)
        if self._elsewhere is not None and local is not None and local.presence.position < stored[0].position:
            # Nobody is shown less than this from now on, though the word of it may still be on its way.
            self._note_written([user_id])
        return presence_content(stored[0], now)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Let time do its part: idle after a while, offline when nobody is there."""
        if not self.enabled:
            task_status.started()
            return
        await self._take_over()
        task_status.started()
        async with trio.open_nursery() as nursery:
            if self._elsewhere is not None:
                nursery.start_soon(self._elsewhere.run)
            await self._let_time_pass()

    async def _let_time_pass(self) -> None:
        while True:
            now = trio.current_time()
            if self._elsewhere is not None:
                await self._listen_to_others(self._elsewhere, now)
            if self._look_at <= now:
                self._look(now)
            if self._due and self._tell_at <= now:
                due = list(self._due)
                try:
                    await self._write(due)
                except Exception:
                    _logger.exception("presence could not be written", users=len(due))
                    for user_id in due:
                        self._due.pop(user_id, None)
                self._let_go(due)
            with trio.move_on_at(min(self._look_at, self._tell_at if self._due else float("inf"))):
                await self._alarm.wait()
            self._alarm = trio.Event()

    def _look(self, now: float) -> None:
        """Let time do its part for everybody."""
        for local in self._locals.values():
            if local.next_change() <= now:
                self._let_pass(local, now)
        next_change = min((local.next_change() for local in self._locals.values()), default=float("inf"))
        self._look_at = max(next_change, now + _LOOK_EVERY_SECONDS)

    async def _listen_to_others(self, elsewhere: PresenceElsewhere, now: float) -> None:
        """Take in what other processes know of those who are about to be lowered, and what they have written."""
        try:
            if self._look_at <= now:
                await self._ask_for_those_who_change(elsewhere, now)
            if self._outdated or self._arriving:
                await self._read_again()
        except DatabaseError as error:
            _logger.warning("other processes cannot be heard on presence", reason=str(error))

    async def _read_again(self) -> None:
        """Take in what others have written of those who are here, or arrive."""
        async with self._settling:
            outdated, arriving = self._outdated, self._arriving
            self._outdated, self._arriving = set(), {}
            try:
                found = await self._database.read(presence_of, [*outdated | arriving.keys()])
            except BaseException:
                self._outdated |= outdated
                self._arriving = arriving | self._arriving
                self._look_at = min(self._look_at, trio.current_time() + _LOOK_EVERY_SECONDS)
                raise
            stored = {one.user_id: one for one in found}
            for user_id in outdated | arriving.keys():
                local, known = self._locals.get(user_id), stored.get(user_id)
                if local is None:
                    continue
                # Something more may have been written during the read.
                local.is_current = user_id not in self._outdated
                if user_id in self._due:
                    continue
                if known is not None and (known.state != OFFLINE or user_id not in arriving):
                    local.presence = known
                elif (state := arriving.get(user_id)) is not None:
                    self._change(local, state=state, active=state == ONLINE)

    async def _ask_for_those_who_change(self, elsewhere: PresenceElsewhere, now: float) -> None:
        if about_to_change := [user for user, local in self._locals.items() if local.next_change() <= now]:
            await elsewhere.ask(about_to_change)

    def _seen_here(self, user_ids: Collection[UserId]) -> dict[UserId, float]:
        now = trio.current_time()
        return {
            user_id: now - local.last_active
            for user_id in user_ids
            if (local := self._locals.get(user_id)) is not None and (local.syncing or local.here_until > now)
        }

    def _seen_elsewhere(self, user_id: UserId, seconds_ago: float) -> None:
        if (local := self._locals.get(user_id)) is None:
            return
        now = trio.current_time()
        local.last_active = max(local.last_active, now - seconds_ago)
        if not local.syncing and local.here_until <= now and user_id not in self._due:
            # The process that sees them will tell when they are gone.
            del self._locals[user_id]

    def _note_written(self, user_ids: Collection[UserId]) -> None:
        if known := self._locals.keys() & user_ids:
            self._outdated |= known
            for user_id in known:
                self._locals[user_id].is_current = False
            self._alarm.set()

    async def _take_over(self) -> None:
        """Adopt those who were there before a restart: without a sign of life they go offline."""
        now, now_ms = trio.current_time(), self._clock.now_ms()
        for presence in await self._database.read(users_present):
            if presence.user_id not in self._locals and self._is_local(presence.user_id):
                last_active = now - (now_ms - presence.last_active_ts) / 1000
                self._locals[presence.user_id] = _Local(presence, last_active, here_until=now + OFFLINE_AFTER_SECONDS)

    def _let_pass(self, local: _Local, now: float) -> None:
        if not local.syncing and local.here_until <= now:
            self._change(local, state=OFFLINE)
        else:
            self._change(local, state=UNAVAILABLE)

    def _let_go(self, user_ids: Collection[UserId]) -> None:
        """Keep nothing in memory of those who are gone."""
        for user_id in user_ids:
            local = self._locals.get(user_id)
            if local is None or local.syncing or user_id in self._due:
                continue
            if local.presence.state == OFFLINE:
                del self._locals[user_id]

    def _local(self, user_id: UserId) -> _Local:
        local = self._locals.get(user_id)
        if local is None:
            presence = Presence(user_id, OFFLINE, None, self._clock.now_ms(), currently_active=False, position=0)
            local = self._locals[user_id] = _Local(presence, trio.current_time())
        return local

    def _change(self, local: _Local, *, state: str, active: bool = False, status_msg: str | None = None) -> None:
        if active:
            local.last_active = trio.current_time()
        old = local.presence
        ago = int((trio.current_time() - local.last_active) * 1000)
        local.presence = replace(
            old,
            state=state,
            status_msg=status_msg if status_msg is not None else old.status_msg,
            last_active_ts=self._clock.now_ms() - ago,
            currently_active=active,
        )
        local.is_current = True
        # Nobody may have been here at the last look.
        self._look_at = min(self._look_at, max(local.next_change(), trio.current_time() + _LOOK_EVERY_SECONDS))
        self._due[old.user_id] = None
        self._alarm.set()

    async def _write(self, user_ids: Collection[UserId]) -> None:
        """Write and tell the states of those of some users of whom nobody has done it meanwhile."""
        async with self._settling:
            # Until their state is taken to be written they stay due, so that nobody else touches it.
            due = [user_id for user_id in user_ids if user_id in self._due]
            news = due if self._elsewhere is None else await self._news_among(due)
            presences = [self._locals[user_id].presence for user_id in news]
            for user_id in due:
                self._due.pop(user_id, None)
            if not presences:
                return
            rooms_of = await self._rooms.joined_rooms_of(news)
            seen_in = frozenset[RoomId]().union(*rooms_of.values())
            # Who is in no room is seen by their own clients only.
            lonely = frozenset(user_id for user_id in news if not rooms_of[user_id])
            woken = set(news).union(*(await self._rooms.joined_members_in(seen_in)).values())
            self._tell_at = trio.current_time() + PAUSE_SECONDS * len(woken)
            position = await self._database.run(put_news, presences)
            if self._elsewhere is not None:
                # Before the commit is published: notifications come in order.
                await self._elsewhere.tell_written(news)
            self._publisher.publish(Commit(position, frozenset(), users=lonely, presence_in=seen_in))

    async def _news_among(self, user_ids: Collection[UserId]) -> list[UserId]:
        """Return those of some users whose presence is not what another process has written already."""
        stored = {one.user_id: one for one in await self._database.read(presence_of, list(user_ids))}
        news = []
        for user_id in user_ids:
            local, known = self._locals[user_id], stored.get(user_id)
            if known is not None and local.presence.status_msg is None:
                local.presence = replace(local.presence, status_msg=known.status_msg)
            if known is None or _as_others_see(known) != _as_others_see(local.presence):
                news.append(user_id)
        return news


def _as_others_see(presence: Presence) -> tuple[str, str | None, bool]:
    return presence.state, presence.status_msg, presence.currently_active


async def put_news(tx: Transaction, presences: Collection[Presence]) -> int:
    """Write what changed; return its position."""
    position = await take_positions(tx, 1)
    await put_presence(tx, [replace(presence, position=position) for presence in presences])
    return position
