"""Who is there, of those the viewer shares a room with."""

from __future__ import annotations

from collections.abc import Collection

import orjson

from tricord.homeserver.accounts.presence import presence_content
from tricord.homeserver.clock import Clock
from tricord.homeserver.rooms.memberships import Memberships
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.presence import Presence, presence_between, presence_of, users_present
from tricord.homeserver.sync.delta import Json
from tricord.homeserver.sync.viewer import Viewer
from tricord.protocol.identifiers import RoomId, UserId

# Beyond this many changes, the latest are told: presence is not worth more.
_MOST_TOLD = 500


class PresenceSection:
    """Reads presence."""

    def __init__(self, database: Database, memberships: Memberships, clock: Clock, *, enabled: bool) -> None:
        self._database = database
        self._memberships = memberships
        self._clock = clock
        self._enabled = enabled

    async def everybody(self, viewer: Viewer) -> tuple[Json, ...]:
        """Return who is there now."""
        if not self._enabled:
            return ()
        neighbours = await self._memberships.neighbours_of(viewer.user_id)
        present = await self._database.read(users_present)
        return self._events(viewer, [entry for entry in present if entry.user_id in neighbours][:_MOST_TOLD])

    async def changes(
        self, viewer: Viewer, after: int, upto: int, newly_joined: Collection[RoomId]
    ) -> tuple[Json, ...]:
        """Return what changed, and who is there in rooms that the viewer has just joined."""
        if not self._enabled:
            return ()
        told: dict[UserId, Presence] = {}
        for entry in await self._database.read(presence_between, after, upto, _MOST_TOLD):
            if entry.user_id == viewer.user_id or await self._memberships.share_a_room(viewer.user_id, entry.user_id):
                told[entry.user_id] = entry
        if newly_joined:
            met: set[UserId] = set()
            for room_id in newly_joined:
                met |= await self._memberships.joined_members(room_id)
            for entry in await self._database.read(presence_of, list(met - told.keys())[:_MOST_TOLD]):
                if entry.state != "offline":
                    told[entry.user_id] = entry
        return self._events(viewer, told.values())

    def _events(self, viewer: Viewer, entries: Collection[Presence]) -> tuple[Json, ...]:
        wanted, now_ms = viewer.filter.presence, self._clock.now_ms()
        if not wanted.allows_type("m.presence"):
            return ()
        return tuple(
            orjson.dumps({"type": "m.presence", "sender": entry.user_id, "content": presence_content(entry, now_ms)})
            for entry in entries
            if wanted.allows_sender(entry.user_id)
        )
