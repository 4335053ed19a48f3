"""Presence of users of other servers, as those tell it.

A server tells it again every 25 minutes or so; of whom nothing is heard for longer than that, nothing is known.
https://spec.matrix.org/v1.19/server-server-api/#presence
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol

import structlog
import trio

from tricord.homeserver.accounts.presence import OFFLINE, put_news
from tricord.homeserver.accounts.presence_elsewhere import PresenceElsewhere
from tricord.homeserver.clock import Clock
from tricord.homeserver.storage.database import Database, Transaction
from tricord.homeserver.storage.errors import DatabaseError
from tricord.homeserver.storage.presence import Presence, presence_of, put_offline, users_present
from tricord.homeserver.storage.stream import take_positions
from tricord.homeserver.stream.publisher import Commit, Publisher
from tricord.protocol.identifiers import RoomId, ServerName, UserId, server_name_of

_LASTS_SECONDS = 35 * 60
_LOOK_EVERY_SECONDS = 60
# What is said again without being news is not written again.
_NEWS_AFTER_MS = 60_000

_logger = structlog.get_logger(__name__)


class Rooms(Protocol):
    """Where users are seen."""

    async def joined_rooms_of(self, user_ids: Collection[UserId]) -> Mapping[UserId, Collection[RoomId]]: ...


class RemotePresences:
    """The only writer of presence of users of other servers."""

    def __init__(
        self, own_name: ServerName, database: Database, publisher: Publisher, rooms: Rooms, clock: Clock
    ) -> None:
        self._own_name = own_name
        self._database = database
        self._publisher = publisher
        self._rooms = rooms
        self._clock = clock
        # When somebody who is there was last heard of.
        self._heard: dict[UserId, float] = {}
        # Who is being let go: what is heard of them waits, since it may be no news compared with what they were.
        self._leaving: Collection[UserId] = frozenset()
        self._left = trio.Event()
        self._elsewhere: PresenceElsewhere | None = None
        if publisher.has_others:
            self._elsewhere = PresenceElsewhere(database, "remote_presence", self._heard_here, self._heard_elsewhere)

    async def note(self, presences: Sequence[Presence]) -> None:
        """Take in what another server says; the caller has checked whom it may speak of."""
        while any(presence.user_id in self._leaving for presence in presences):
            await self._left.wait()
        for presence in presences:
            self._heard.pop(presence.user_id, None)
            if presence.state != OFFLINE:
                self._heard[presence.user_id] = trio.current_time()
        known = {one.user_id: one for one in await self._database.read(presence_of, [p.user_id for p in presences])}
        news = [presence for presence in presences if _is_news(known.get(presence.user_id), presence)]
        if not news:
            return
        seen_in = await self._seen_in(presence.user_id for presence in news)
        position = await self._database.run(put_news, news)
        self._publisher.publish(Commit(position, frozenset(), frozenset(), presence_in=seen_in))

    async def run(self) -> None:
        """Let those go offline of whom nothing is heard, for ever."""
        await self._take_over()
        async with trio.open_nursery() as nursery:
            if self._elsewhere is not None:
                nursery.start_soon(self._elsewhere.run)
            while True:
                await trio.sleep(_LOOK_EVERY_SECONDS)
                try:
                    await self._let_go(self._lost())
                except DatabaseError as error:
                    _logger.warning("presence could not be written", reason=str(error))

    async def _let_go(self, lost: Collection[UserId]) -> None:
        """Let users go offline, but for those of whom something is heard meanwhile, here or in another process."""
        if not lost:
            return
        positions = {one.user_id: one.position for one in await self._database.read(presence_of, list(lost))}
        if self._elsewhere is not None:
            # Their server may have told another process.
            await self._elsewhere.ask(lost)
        seen_in = await self._seen_in(lost)
        # From this look on, who hears something waits; nothing is awaited in between.
        leaving = {user_id: positions.get(user_id, 0) for user_id in self._lost() if user_id in lost}
        if not leaving:
            return
        self._leaving, self._left = leaving.keys(), trio.Event()
        try:
            position, gone = await self._database.run(_put_offline, leaving)
            for user_id in leaving:
                self._heard.pop(user_id, None)
        finally:
            self._leaving = frozenset()
            self._left.set()
        seen_in = seen_in if gone else frozenset()
        self._publisher.publish(Commit(position, frozenset(), frozenset(), presence_in=seen_in))

    async def _seen_in(self, user_ids: Iterable[UserId]) -> frozenset[RoomId]:
        rooms_of = await self._rooms.joined_rooms_of(set(user_ids))
        return frozenset[RoomId]().union(*rooms_of.values())

    def _lost(self) -> list[UserId]:
        before = trio.current_time() - _LASTS_SECONDS
        return [user_id for user_id, heard in self._heard.items() if heard < before]

    def _heard_here(self, user_ids: Collection[UserId]) -> dict[UserId, float]:
        now = trio.current_time()
        return {user_id: now - self._heard[user_id] for user_id in user_ids if user_id in self._heard}

    def _heard_elsewhere(self, user_id: UserId, seconds_ago: float) -> None:
        if user_id in self._heard:
            self._heard[user_id] = max(self._heard[user_id], trio.current_time() - seconds_ago)

    async def _take_over(self) -> None:
        """Wait for news of those who were there before a restart, as for everybody."""
        for presence in await self._database.read(users_present):
            if server_name_of(presence.user_id) != self._own_name:
                self._heard.setdefault(presence.user_id, trio.current_time())


async def _put_offline(tx: Transaction, positions: Mapping[UserId, int]) -> tuple[int, list[UserId]]:
    position = await take_positions(tx, 1)
    return position, await put_offline(tx, positions, position)


def _is_news(before: Presence | None, now: Presence) -> bool:
    if before is None:
        return now.state != OFFLINE
    return (before.state, before.status_msg, before.currently_active) != (
        now.state,
        now.status_msg,
        now.currently_active,
    ) or (now.state != OFFLINE and now.last_active_ts - before.last_active_ts > _NEWS_AFTER_MS)
