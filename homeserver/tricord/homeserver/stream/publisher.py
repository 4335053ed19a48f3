"""Telling readers that something has been committed: those who wait in this process, and the other processes.

A wake-up carries no data. Readers read from their own last position up to `Publisher.position`, so that a lost
wake-up loses nothing. For this to be complete, the position moves on only without a gap: positions are given without
holes, so a hole means that a commit with a lower position has not been announced yet, be it of another task or of
another process. Its announcement comes within moments. Where it does not come (a process died between COMMIT and
NOTIFY), everybody looks again. Nobody is told while nobody listens (`company.py`).

Notifications come in order: what is told by another one before a commit is heard before it. What changed nothing but
rooms needs none of that, so that siblings are told of it directly, which is quicker and costs no transaction. They are
woken for it at once if somebody waits for it there; who is asked for something hears it first. Should one of them not
hear it, it finds in the memory that they share that something has been committed, and looks.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Self

import orjson
import structlog
import trio

from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.errors import DatabaseError
from tricord.homeserver.storage.stream import current_position
from tricord.homeserver.stream.common_memory import Frontier
from tricord.homeserver.stream.company import LOOK_AT_EVERYTHING, Company
from tricord.homeserver.stream.interests import A_HOLE, WAKING, Interests
from tricord.homeserver.stream.siblings import Siblings, Topic
from tricord.protocol.identifiers import RoomId, UserId

_CHANNEL = "tricord_commits"
# PostgreSQL takes less than 8,000 bytes in a notification.
_MOST_BYTES = 7_500
# What would take more notifications than this is told as "look at everything".
_MOST_NOTIFICATIONS = 20
# In place of a count: the rest of this commit is told in the next notification.
_MORE_TO_COME = 0
_PATIENCE_SECONDS = 0.5
# Each has some work then, up to half a millisecond. Requests that come meanwhile wait for as many, not for thousands.
_WOKEN_TOGETHER = 64
# After a failure of the database.
_PAUSE_SECONDS = 1
# Those who do not wait for it are told together what is committed meanwhile. Each telling is a transaction.
_GATHER_SECONDS = 0.02
# How long a request waits for what other processes have committed: first for their word, then for a look of our own.
_WORD_SECONDS = 0.25
_LOOK_SECONDS = 5
# How long a process that ends tries to tell its last commits.
_LAST_WORD_SECONDS = 2

_logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Commit:
    """What a transaction changed; it took `count` positions, of which `position` is the highest."""

    position: int
    rooms: frozenset[RoomId]
    """Where the timeline, the state, receipts or typing changed."""
    users: frozenset[UserId]
    """Whose own things changed: account data, membership (invites too), devices."""
    count: int = 1
    has_events: bool = False
    """Whether events were appended to the rooms."""
    presence_in: frozenset[RoomId] = frozenset()
    """Where people see each other of whom somebody's presence changed; nothing else there did."""
    keys: frozenset[UserId] = frozenset()
    """Whose keys for encryption, or whose signatures on keys of others, are others now."""


class Subscription(AbstractContextManager["Subscription"]):
    """Someone's interest in a user's own things and in some rooms."""

    __slots__ = ("_changed", "_publisher", "_rooms", "_user_id", "sees_presence")

    def __init__(
        self, publisher: Publisher, user_id: UserId, rooms: Iterable[RoomId], *, sees_presence: bool = False
    ) -> None:
        self.sees_presence = sees_presence
        self._publisher = publisher
        self._user_id = user_id
        self._rooms = frozenset(rooms)
        self._changed = trio.Event()

    @property
    def rooms(self) -> frozenset[RoomId]:
        """The rooms; assign to watch others from now on, and be woken, since what was published there is not known."""
        return self._rooms

    @rooms.setter
    def rooms(self, rooms: Iterable[RoomId]) -> None:
        before, self._rooms = self._rooms, frozenset(rooms)
        watchers = self._publisher.watchers_of_rooms
        watchers.remove(self, before - self._rooms)
        if added := self._rooms - before:
            watchers.add(self, added)
            self._publisher.hear_siblings()
            self.wake()

    async def wait(self) -> None:
        """Return when something has been published since the last look, at once if it already has."""
        await self._changed.wait()
        self._changed = trio.Event()

    def wake(self) -> None:
        """Let `wait` return."""
        self._changed.set()

    def __enter__(self) -> Self:
        """Watch while the block lasts."""
        self._publisher.watchers_of_users.add(self, (self._user_id,))
        self._publisher.watchers_of_rooms.add(self, self._rooms)
        self._publisher.hear_siblings()
        return self

    def __exit__(self, *_: object) -> None:
        """Watch no longer."""
        self._publisher.watchers_of_users.remove(self, (self._user_id,))
        self._publisher.watchers_of_rooms.remove(self, self._rooms)


class Watchers:
    """Subscriptions by what they watch; siblings are told what that is."""

    def __init__(self, interests: Interests | None = None) -> None:
        self._interests = interests
        self._by_name: dict[str, set[Subscription]] = {}

    def add(self, subscription: Subscription, names: Iterable[str]) -> None:
        """Let a subscription watch some rooms or users."""
        for name in names:
            watching = self._by_name.get(name)
            if watching is None:
                self._by_name[name] = {subscription}
                if self._interests is not None:
                    self._interests.note(name, WAKING)
            else:
                watching.add(subscription)

    def remove(self, subscription: Subscription, names: Iterable[str]) -> None:
        """Let it no longer watch them."""
        for name in names:
            watching = self._by_name[name]
            watching.discard(subscription)
            if not watching:
                del self._by_name[name]
                # As a rule they come again in a moment, so that siblings are not told.
                if self._interests is not None and self._interests.are_many:
                    self._interests.drop(name, WAKING)

    def forget_unwatched(self, names: Iterable[str]) -> None:
        """Let siblings know which of the names nobody watches any more."""
        if self._interests is not None:
            for name in names:
                if name not in self._by_name:
                    self._interests.drop(name, WAKING)

    def watch_any_of(self, names: Collection[str]) -> bool:
        """Return whether somebody watches any of the names."""
        return not self._by_name.keys().isdisjoint(names)

    def watching(self, names: Iterable[str]) -> Iterator[Subscription]:
        """Give those who watch the names; who watches several, more than once."""
        return itertools.chain.from_iterable(self._by_name.get(name, ()) for name in names)

    def everybody(self) -> Iterator[Subscription]:
        """Give all, in the same way."""
        return itertools.chain.from_iterable(self._by_name.values())


class Publisher:
    """Announces commits."""

    def __init__(
        self,
        database: Database,
        position: int,
        frontier: Frontier | None = None,
        siblings: Siblings | None = None,
    ) -> None:
        self.position = position
        """Every commit up to here is published in this process."""
        self._frontier = frontier
        self._siblings = siblings
        # Requests that wait for a position.
        self._behind: dict[trio.Event, int] = {}
        self.watchers_of_rooms = Watchers(None if siblings is None else siblings.interests)
        self.watchers_of_users = Watchers()
        self._database = database
        self._company = Company(None if siblings is None else siblings.family)
        self._on_commit: list[Callable[[Commit], None]] = []
        self._on_hearing: list[Callable[[Commit], None]] = []
        self._on_other_commit: list[Callable[[Commit], None]] = []
        self._on_gap: list[Callable[[int], None]] = []
        # Commits beyond a hole, by the position before their first; and when the hole has lasted for too long.
        self._early: dict[int, Commit] = {}
        self._patient_until = float("inf")
        # Commits of other processes of which more is to come, by process.
        self._incomplete: dict[str, Commit] = {}
        self._untold: list[Commit] = []
        # Commits whose watchers are woken in a moment, and those of them who are next.
        self._shown: list[Commit] = []
        self._to_wake: OrderedDict[Subscription, None] = OrderedDict()
        self._is_waking = False
        self._is_lost = False
        self._work = trio.Event()
        # Set when siblings wait for a notification.
        self._is_urgent = trio.Event()
        database.listen(_CHANNEL, self._take_notification)
        if siblings is not None:
            siblings.listen(Topic.COMMITS, self._hear_sibling)
            siblings.when_lost(self._look_if_behind)

    def observe(
        self,
        on_commit: Callable[[Commit], None],
        on_gap: Callable[[int], None],
    ) -> None:
        """Call with each commit just before it is published, in the order of positions as a rule.

        `on_gap` gets a position up to which anything may have changed.
        """
        self._on_commit.append(on_commit)
        self._on_gap.append(on_gap)

    def observe_other_processes(
        self,
        on_commit: Callable[[Commit], None],
        on_gap: Callable[[int], None],
    ) -> None:
        """Call with each commit of another process before any reader here can know of it."""
        self._on_other_commit.append(on_commit)
        self._on_gap.append(on_gap)

    def observe_at_once(
        self,
        on_commit: Callable[[Commit], None],
        on_gap: Callable[[int], None],
    ) -> None:
        """Call with each commit, of this process or another, as soon as it is heard of: before it is published.

        For what is kept in memory and must be right for whoever asks after their own change.
        """
        self._on_hearing.append(on_commit)
        self._on_gap.append(on_gap)

    def publish(self, commit: Commit) -> None:
        """Announce a commit of this process; call it right after COMMIT, before anything is awaited."""
        # Whoever sees in the common memory that there is a commit finds there what it is.
        siblings_know = not self.has_others or self._is_told_directly(commit)
        if self._frontier is not None:
            self._frontier.note(commit.position)
        self.hear(commit)
        if not siblings_know:
            self._is_urgent.set()
        if not siblings_know or not self._company.is_alone:
            self._untold.append(commit)
            self._work.set()
        self._take(commit)

    def _is_told_directly(self, commit: Commit) -> bool:
        """Tell siblings of a commit, if it needs no order; return whether all of them have been told."""
        siblings, rooms = self._siblings, commit.rooms
        if siblings is None or commit.users or commit.presence_in or commit.keys or not rooms:
            return False
        told = orjson.dumps((commit.position, commit.count, commit.has_events, *rooms))
        is_told = siblings.tell(Topic.COMMITS, told)
        siblings.wake(siblings.interests.elsewhere_for_any((A_HOLE, *rooms), WAKING))
        return is_told

    def hear(self, commit: Commit) -> None:
        """Tell those who observe at once, as `publish` does: where something is awaited before that."""
        for note in self._on_hearing:
            note(commit)

    @property
    def has_others(self) -> bool:
        """Whether other processes on this machine answer the same clients."""
        return self._frontier is not None

    @property
    def is_behind(self) -> bool:
        """Whether somebody on this machine may have been answered about what is not published here yet."""
        return bool(self._early) or (self._frontier is not None and self._frontier.position > self.position)

    async def catch_up(self) -> None:
        """Return once all is published here that was committed on this machine before, or after some seconds."""
        if self.is_behind:
            self.hear_siblings()
            position = max((commit.position for commit in self._early.values()), default=0)
            await self.reach(position if self._frontier is None else max(position, self._frontier.position))

    async def reach(self, position: int) -> None:
        """Return once all is published here up to a position that has been committed, or after some seconds."""
        if position > self.position:
            self.hear_siblings()
        if position <= self.position:
            return
        caught_up = trio.Event()
        self._behind[caught_up] = position
        try:
            with trio.move_on_after(_WORD_SECONDS):
                await caught_up.wait()
                return
            # That process may have died with the word in its mouth.
            self._is_lost = True
            self._work.set()
            with trio.move_on_after(_LOOK_SECONDS):
                await caught_up.wait()
        finally:
            self._behind.pop(caught_up, None)

    def subscribe(
        self, user_id: UserId, rooms: Iterable[RoomId], *, sees_presence: bool = False
    ) -> AbstractContextManager[Subscription]:
        """Watch a user's own things and some rooms, and the presence of who is there, while the context lasts."""
        return Subscription(self, user_id, rooms, sees_presence=sees_presence)

    def hear_siblings(self) -> None:
        """Publish what siblings have told until now: who has just begun to wait for it was not woken for that."""
        if self._siblings is not None:
            self._siblings.hear()

    def await_next(self, rooms: Iterable[RoomId]) -> None:
        """Hear at once what siblings do next in some rooms; what nobody here awaits is heard with other news."""
        if self._siblings is not None:
            for room_id in rooms:
                self._siblings.interests.note(room_id, WAKING)
            self.hear_siblings()

    async def run(self) -> None:
        """Tell the other processes, and mind the gaps; for ever."""
        self._work.set()
        while True:
            with trio.move_on_at(self._patient_until):
                await self._work.wait()
            self._work = trio.Event()
            if self.has_others:
                # What they have been told directly they do not have to hear from PostgreSQL first.
                with trio.move_on_after(_GATHER_SECONDS):
                    await self._is_urgent.wait()
                self._is_urgent = trio.Event()
            try:
                if self._is_lost or self._patient_until <= trio.current_time():
                    await self._look_again()
                await self._speak()
                await self._tell_untold()
                if not self.has_others:
                    await trio.sleep(_GATHER_SECONDS)
            except DatabaseError as error:
                _logger.warning("other processes cannot be told of commits, or be asked for theirs", reason=str(error))
                await trio.sleep(_PAUSE_SECONDS)
                self._work.set()

    async def close(self) -> None:
        """Tell the other processes what they have not been told: they need not find a hole and look again."""
        with trio.move_on_after(_LAST_WORD_SECONDS, shield=True):
            try:
                if not self._company.is_alone:
                    await self._speak()
                while self._untold:
                    await self._tell_untold()
            except DatabaseError as error:
                _logger.warning("other processes could not be told of the last commits", reason=str(error))

    async def _look_again(self) -> None:
        self._is_lost = False
        try:
            position = await self._database.read(current_position)
        except BaseException:
            self._is_lost = True
            raise
        for forget in self._on_gap:
            forget(position)
        self._early = {before: commit for before, commit in self._early.items() if before >= position}
        self.position = max(self.position, position)
        self._wake_soon(self.watchers_of_users.everybody())
        self._release()
        self._let_go()

    def _take(self, commit: Commit) -> None:
        before = commit.position - commit.count
        if before > self.position:
            self._early[before] = commit
            if len(self._early) == 1:
                self._be_patient()
                # What is missing may have been told; if not, it will be in a moment.
                self.hear_siblings()
            return
        self._show(commit)
        if self._early:
            self._release()
        if self._behind:
            self._let_go()

    def _let_go(self) -> None:
        """Let those requests go on that waited for what is published now."""
        for caught_up, position in list(self._behind.items()):
            if position <= self.position:
                del self._behind[caught_up]
                caught_up.set()

    def _release(self) -> None:
        while self._early and (commit := self._early.pop(self.position, None)) is not None:
            self._show(commit)
        self._be_patient()

    def _be_patient(self) -> None:
        """Wait for some time, however much is committed meanwhile, until the hole that is there now is filled."""
        if self._early:
            self._patient_until = trio.current_time() + _PATIENCE_SECONDS
            self._work.set()
        else:
            self._patient_until = float("inf")
        if self._siblings is not None:
            want = self._siblings.interests.note if self._early else self._siblings.interests.drop
            want(A_HOLE, WAKING)

    def _show(self, commit: Commit) -> None:
        for note in self._on_commit:
            note(commit)
        self.position = max(self.position, commit.position)
        if self._is_awaited(commit):
            self._shown.append(commit)
            self._wake_soon()

    def _is_awaited(self, commit: Commit) -> bool:
        return (
            self.watchers_of_rooms.watch_any_of(commit.rooms)
            or self.watchers_of_rooms.watch_any_of(commit.presence_in)
            or self.watchers_of_users.watch_any_of(commit.users)
        )

    def _wake_soon(self, subscriptions: Iterable[Subscription] = ()) -> None:
        """Wake some, too, with those who wait for what has been published.

        They come after whoever asked for the commit, who goes on as soon as it is published: it is one, they are many.
        """
        self._to_wake |= dict.fromkeys(subscriptions)
        if not self._is_waking:
            self._is_waking = True
            trio.lowlevel.current_trio_token().run_sync_soon(self._wake_some)

    def _wake_some(self) -> None:
        """Wake the next ones; the others once these, and whoever has come meanwhile, have had their turns."""
        shown, self._shown = self._shown, []
        for commit in shown:
            self._to_wake |= dict.fromkeys(self._watching(commit))
        for _ in range(min(len(self._to_wake), _WOKEN_TOGETHER)):
            subscription, _ = self._to_wake.popitem(last=False)
            subscription.wake()
        self._is_waking = False
        if self._to_wake:
            self._wake_soon()

    def _watching(self, commit: Commit) -> Iterator[Subscription]:
        yield from self.watchers_of_rooms.watching(commit.rooms)
        for subscription in self.watchers_of_rooms.watching(commit.presence_in):
            if subscription.sees_presence:
                yield subscription
        yield from self.watchers_of_users.watching(commit.users)

    async def _speak(self) -> None:
        unsaid = self._company.unsaid
        while unsaid:
            word = unsaid.pop()
            try:
                await self._database.notify(_CHANNEL, word)
            except BaseException:
                unsaid.add(word)
                raise

    async def _tell_untold(self) -> None:
        if untold := self._untold[:]:
            await self._tell(untold)
            # Whoever is cancelled before has told nothing: to be told twice does no harm.
            del self._untold[: len(untold)]

    async def _tell(self, commits: Collection[Commit]) -> None:
        payloads = list(_payloads(self._company.origin, commits))
        if len(payloads) > _MOST_NOTIFICATIONS:
            payloads = [LOOK_AT_EVERYTHING]
        for payload in payloads:
            await self._database.notify(_CHANNEL, payload)

    def _take_notification(self, payload: str) -> None:
        if payload == LOOK_AT_EVERYTHING:
            self._is_lost = True
            self._company.greet()
            self._work.set()
            return
        origin, *told = orjson.loads(payload)
        if origin == self._company.origin:
            return
        if self._company.meet(origin):
            self._work.set()
        for each in told:
            commit = _commit_of(each)
            if (begun := self._incomplete.pop(origin, None)) is not None:
                commit = replace(
                    commit,
                    rooms=commit.rooms | begun.rooms,
                    users=commit.users | begun.users,
                    presence_in=commit.presence_in | begun.presence_in,
                    keys=commit.keys | begun.keys,
                )
            if commit.count == _MORE_TO_COME:
                self._incomplete[origin] = commit
            else:
                self._hear_other(commit)

    def _look_if_behind(self) -> None:
        if self.is_behind:
            self._is_lost = True
            self._work.set()

    def _hear_sibling(self, told: bytes) -> None:
        position, count, has_events, *rooms = orjson.loads(told)
        self._hear_other(Commit(position, frozenset(rooms), frozenset(), count, has_events))
        self.watchers_of_rooms.forget_unwatched(rooms)

    def _hear_other(self, commit: Commit) -> None:
        if commit.position <= self.position or commit.position - commit.count in self._early:
            return  # it was told directly before, or everybody has looked since
        for note in (*self._on_hearing, *self._on_other_commit):
            note(commit)
        self._take(commit)


async def announce_unknown_changes(database: Database) -> None:
    """Have all servers on a database look again: for a commit of somebody who is no server, as on the command line."""
    await database.notify(_CHANNEL, LOOK_AT_EVERYTHING)


def _payloads(origin: str, commits: Iterable[Commit]) -> Iterator[str]:
    """Write commits as notifications, as many into one as fit; a big commit takes several."""
    head = orjson.dumps([origin])[:-1]
    payload, size = [head], len(head)
    for commit in commits:
        for part in _parts(commit):
            if size + len(part) + 2 > _MOST_BYTES:
                yield (b",".join(payload) + b"]").decode()
                payload, size = [head], len(head)
            payload.append(part)
            size += len(part) + 1
    yield (b",".join(payload) + b"]").decode()


def _parts(commit: Commit) -> Iterator[bytes]:
    rooms, users, presence_in = list(commit.rooms), list(commit.users), list(commit.presence_in)
    keys = list(commit.keys)
    whole = _whole(commit)
    if len(whole) < _MOST_BYTES // 2:
        yield whole
        return
    most = 7  # of each kind: names of 255 bytes fit
    last = (max(len(rooms), len(users), len(presence_in), len(keys)) - 1) // most
    for part in range(last + 1):
        names = slice(part * most, (part + 1) * most)
        count = commit.count if part == last else _MORE_TO_COME
        lists = rooms[names], users[names], presence_in[names], keys[names]
        yield orjson.dumps([commit.position, *lists[:2], count, commit.has_events, *lists[2:]])


def _whole(commit: Commit) -> bytes:
    lists = [list(names) for names in (commit.rooms, commit.users, commit.presence_in, commit.keys)]
    return orjson.dumps([commit.position, *lists[:2], commit.count, commit.has_events, *lists[2:]])


def _commit_of(told: Sequence[Any]) -> Commit:
    position, rooms, users, count, has_events, presence_in, keys = told
    return Commit(
        position,
        frozenset(rooms),
        frozenset(users),
        count,
        has_events,
        presence_in=frozenset(presence_in),
        keys=frozenset(keys),
    )
