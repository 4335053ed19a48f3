"""Who is there, of those the viewer shares a room with and does not ignore."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, field

import orjson
import trio

from tricord.homeserver.accounts.presence import presence_content
from tricord.homeserver.clock import Clock
from tricord.homeserver.rooms.memberships import Memberships
from tricord.homeserver.rooms.preferences import Preferences
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.presence import Presence, latest_present, presence_between, presence_of, present_among
from tricord.homeserver.sync.delta import Json
from tricord.homeserver.sync.viewer import Viewer
from tricord.protocol.identifiers import RoomId, UserId

# Beyond this many changes, the latest are told: presence is not worth more.
_MOST_TOLD = 500
# Of this many neighbours it is looked up whether they are here; of more, who is here is looked at.
_MOST_ASKED = 2_000
# Whether each of so many shares a room with the viewer is asked one by one.
_FEW = 20
_MOST_STRETCHES = 16


@dataclass(slots=True)
class _Stretch:
    """What changed between two positions, for whoever asks; None while it is read."""

    done: trio.Event = field(default_factory=trio.Event)
    entries: list[Presence] | None = None


class PresenceSection:
    """Reads presence."""

    def __init__(
        self, database: Database, memberships: Memberships, preferences: Preferences, clock: Clock, *, enabled: bool
    ) -> None:
        self._database = database
        self._memberships = memberships
        self._preferences = preferences
        self._clock = clock
        self._enabled = enabled
        self._read: OrderedDict[tuple[int, int], _Stretch] = OrderedDict()

    async def everybody(self, viewer: Viewer) -> tuple[Json, ...]:
        """Return who is there now."""
        if not self._enabled:
            return ()
        neighbours = await self._memberships.neighbours_of(viewer.user_id)
        if len(neighbours) <= _MOST_ASKED:
            present = await self._database.read(present_among, list(neighbours), _MOST_TOLD)
        else:
            # They need not be asked one by one: they are a good part of all who are here.
            latest = await self._database.read(latest_present, _MOST_ASKED)
            present = [entry for entry in latest if entry.user_id in neighbours][:_MOST_TOLD]
        return await self._events(viewer, present)

    async def changes(
        self, viewer: Viewer, after: int, upto: int, newly_joined: Collection[RoomId]
    ) -> tuple[Json, ...]:
        """Return what changed, and who is there in rooms that the viewer has just joined."""
        if not self._enabled:
            return ()
        told = {entry.user_id: entry for entry in await self._changed(viewer.user_id, after, upto)}
        if newly_joined:
            met: set[UserId] = set()
            for room_id in newly_joined:
                met |= await self._memberships.joined_members(room_id)
            for entry in await self._database.read(presence_of, list(met - told.keys())[:_MOST_TOLD]):
                if entry.state != "offline":
                    told[entry.user_id] = entry
        return await self._events(viewer, told.values())

    async def _changed(self, viewer: UserId, after: int, upto: int) -> list[Presence]:
        """Return what changed of those whom a viewer sees. Many are woken by one change, and read the same."""
        stretch = after, upto
        if (read := self._read.get(stretch)) is None:
            read = self._read[stretch] = _Stretch()
            if len(self._read) > _MOST_STRETCHES:
                self._read.popitem(last=False)
            try:
                read.entries = await self._database.read(presence_between, after, upto, _MOST_TOLD)
            finally:
                read.done.set()
                if read.entries is None:
                    self._read.pop(stretch, None)
        await read.done.wait()
        entries = read.entries
        if entries is None:  # who read it was cancelled
            entries = await self._database.read(presence_between, after, upto, _MOST_TOLD)
        if len(entries) > _FEW:
            seen = await self._memberships.neighbours_of(viewer)
            return [entry for entry in entries if entry.user_id in seen or entry.user_id == viewer]
        return [
            entry
            for entry in entries
            if entry.user_id == viewer or await self._memberships.share_a_room(viewer, entry.user_id)
        ]

    async def _events(self, viewer: Viewer, entries: Collection[Presence]) -> tuple[Json, ...]:
        wanted, now_ms = viewer.filter.presence, self._clock.now_ms()
        if not wanted.allows_type("m.presence"):
            return ()
        ignored = await self._preferences.ignored_by(viewer.user_id)
        return tuple(
            orjson.dumps({"type": "m.presence", "sender": entry.user_id, "content": presence_content(entry, now_ms)})
            for entry in entries
            if wanted.allows_sender(entry.user_id) and entry.user_id not in ignored
        )
