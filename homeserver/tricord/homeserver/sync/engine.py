"""What changed for a user between two positions: the one answer that every kind of sync encodes.

A delta is made in three steps: the plan (which rooms, which stretch of each), the windows (what happened
there, read for everybody at once), and the news (what this viewer is told of it). Its cost follows what
changed: rooms where nothing did are not looked at, and what a thousand viewers are told alike is read and
encoded once.

A room that cannot be read is left out and told later, see `room_reads.py`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from tricord.homeserver.rooms.memberships import Memberships
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.stream import current_position
from tricord.homeserver.stream.publisher import Publisher
from tricord.homeserver.stream.recent_changes import RecentChanges
from tricord.homeserver.stream.tokens import decode_token
from tricord.homeserver.sync.delta import Delta
from tricord.homeserver.sync.following import Following
from tricord.homeserver.sync.planner import Planner
from tricord.homeserver.sync.room_reads import UnreadableRooms, mark_of
from tricord.homeserver.sync.sections.account_data import AccountDataNews, AccountDataSection
from tricord.homeserver.sync.sections.devices import DevicesSection
from tricord.homeserver.sync.sections.presence import PresenceSection
from tricord.homeserver.sync.teller import RoomTeller
from tricord.homeserver.sync.viewer import Viewer
from tricord.protocol.errors import InvalidParam

# Answers of everything that are made at a time. More would take no less time, and as many times the memory.
_BEGINNINGS_AT_ONCE = 4


class SyncEngine:
    """Says what changed."""

    def __init__(
        self,
        database: Database,
        publisher: Publisher,
        changes: RecentChanges,
        memberships: Memberships,
        planner: Planner,
        teller: RoomTeller,
        unreadable: UnreadableRooms,
        account_data: AccountDataSection,
        presence: PresenceSection,
        devices: DevicesSection,
    ) -> None:
        self._database = database
        self._publisher = publisher
        self._changes = changes
        self._memberships = memberships
        self._planner = planner
        self._teller = teller
        self._unreadable = unreadable
        self._account_data = account_data
        self._presence = presence
        self._devices = devices
        self._beginnings = trio.CapacityLimiter(_BEGINNINGS_AT_ONCE)

    async def checked_position(self, token: str | None) -> int | None:
        """Return the position of a token; refuse one that this server cannot have given out."""
        if token is None:
            return None
        position = decode_token(token)
        if position <= self._publisher.position:
            return position
        if position > await self._database.read(current_position):
            raise InvalidParam("this position was never given out")
        # Another process has given it out: we shall hear of it in a moment, or have to look, if who committed it died.
        await self._publisher.reach(position)
        return min(position, self._publisher.position)

    async def note_received(self, viewer: Viewer, position: int) -> None:
        """Note that a viewer has everything up to a position: they have come back with its token."""
        await self._devices.note_received(viewer, position)

    @asynccontextmanager
    async def follow(self, viewer: Viewer) -> AsyncIterator[Following]:
        """Follow what changes for a viewer."""
        rooms = await self._memberships.joined_rooms(viewer.user_id)
        sees_presence = viewer.filter.presence.allows_type("m.presence")
        with self._publisher.subscribe(viewer.user_id, rooms, sees_presence=sees_presence) as subscription:
            yield Following(self.delta, self._publisher, self._memberships, viewer, subscription)

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
        if since is None or viewer.full_state:
            async with self._beginnings:
                return await self._delta(viewer, since, upto)
        return await self._delta(viewer, since, upto)

    async def _delta(self, viewer: Viewer, since: int | None, upto: int) -> Delta:
        delta = Delta(upto)
        own_things = since is None or self._changes.user_changed(viewer.user_id, since)
        data = AccountDataNews()
        if own_things:
            data = await self._account_data.changes(viewer, since or 0, upto, everything=since is None)
        reads = self._unreadable.reads_for(viewer.user_id)
        plan = await self._planner.plan(viewer, since, upto, reads, own_things=own_things)
        await self._teller.tell(delta, plan, data, viewer, since, reads)
        # All of the state was asked for, or all that was missed.
        told_upto = 0 if since is None or viewer.full_state else since
        delta.left_out = {
            room_id: min(told_upto, viewer.left_out.get(mark_of(room_id), told_upto)) for room_id in reads.left_out
        }
        delta.account_data = tuple(data.of_account)
        if since is None:
            delta.presence = await self._presence.everybody(viewer)
        elif own_things or await self._presence_changed(viewer, since, upto):
            newly = [stretch.room_id for stretch in plan.joined if stretch.full_state and not viewer.full_state]
            delta.presence = await self._presence.changes(viewer, since, upto, newly)
        delta.devices = await self._devices.news(viewer, since, upto)
        return delta

    async def _presence_changed(self, viewer: Viewer, since: int, upto: int) -> bool:
        return self._changes.presence_changed(await self._memberships.joined_rooms(viewer.user_id), since, upto)
