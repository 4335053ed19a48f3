"""The rooms that a user may be told of: those they are in, are asked into, knock on, or were put out of.

Rooms that somebody has left by themselves are told only to connections that know them, as they are left.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import orjson

from tricord.homeserver.rooms.memberships import Membership, Memberships
from tricord.homeserver.rooms.state import RoomState
from tricord.homeserver.rooms.stored_event import StateKey, StoredEvent
from tricord.homeserver.rooms.timeline import Timeline
from tricord.homeserver.storage.account_data import account_data_of_types
from tricord.homeserver.storage.database import Database
from tricord.homeserver.stream.publisher import Publisher
from tricord.homeserver.stream.recent_changes import RecentChanges
from tricord.homeserver.sync.delta import Json
from tricord.homeserver.sync.sections.invites import InviteSection
from tricord.protocol.identifiers import EventId, RoomId, UserId

_MOST_REMEMBERED = 20_000
# How far a membership is followed back to the join before it.
_MOST_STEPS = 10
_CREATE: StateKey = ("m.room.create", "")
_ENCRYPTION: StateKey = ("m.room.encryption", "")


class Outside(NamedTuple):
    """A room that a user is not in, and may be told of."""

    member: Membership
    # What may be told of a room whose inside they have not seen; of one that they were put out of, None.
    stripped: tuple[Json, ...] | None
    room_type: str | None
    is_encrypted: bool
    # The event with which they left it, if they ever were inside.
    left: StoredEvent | None = None


@dataclass(frozen=True, slots=True)
class OwnRooms:
    """A user's rooms, as they are up to a position."""

    joined: frozenset[RoomId]
    outside: Mapping[RoomId, Outside]
    # What the user has become to rooms since the connection was last told: every kind of membership.
    moved: Mapping[RoomId, Membership]
    # Rooms that they have just come into, which is not published yet.
    late: frozenset[RoomId]
    direct: frozenset[RoomId]
    tags: Mapping[RoomId, frozenset[str]]


@dataclass(frozen=True, slots=True)
class _Kept:
    position: int
    outside: Mapping[RoomId, Outside]
    direct: frozenset[RoomId]
    tags: Mapping[RoomId, frozenset[str]]


class RoomsOfUsers:
    """Knows users' rooms; what is not in memory anyway is kept until anything of the user's own changes."""

    def __init__(
        self,
        database: Database,
        publisher: Publisher,
        changes: RecentChanges,
        memberships: Memberships,
        timeline: Timeline,
        state: RoomState,
        invites: InviteSection,
    ) -> None:
        self._database = database
        self._publisher = publisher
        self._changes = changes
        self._memberships = memberships
        self._timeline = timeline
        self._state = state
        self._invites = invites
        self._kept: OrderedDict[UserId, _Kept] = OrderedDict()

    async def of(self, user_id: UserId, since: int | None, upto: int, ignored: frozenset[UserId]) -> OwnRooms:
        """Return a user's rooms, and what has become of them after a position."""
        after = upto if since is None else since
        moved: dict[RoomId, Membership] = {}
        if self._changes.user_changed(user_id, after):
            rows = await self._memberships.changed(user_id, after=after, upto=1 << 62)
            moved = {row.room_id: row for row in rows}
        kept = await self._of(user_id, ignored)
        joined = await self._memberships.joined_rooms(user_id)
        # What is not published yet is told with what is published with it.
        late = frozenset(room_id for room_id, row in moved.items() if row.since > upto)
        if late:
            joined -= late
            moved = {room_id: row for room_id, row in moved.items() if room_id not in late}
        outside = {
            room_id: room
            for room_id, room in kept.outside.items()
            if room_id not in joined and room_id not in late and room.member.position <= upto
        }
        return OwnRooms(joined, outside, moved, late, kept.direct, kept.tags)

    async def _of(self, user_id: UserId, ignored: frozenset[UserId]) -> _Kept:
        kept = self._kept.get(user_id)
        if kept is not None and not self._changes.user_changed(user_id, kept.position):
            self._kept.move_to_end(user_id)
            return kept
        position = self._publisher.position
        outside = await self._outside(await self._memberships.elsewhere(user_id), ignored)
        direct: frozenset[RoomId] = frozenset()
        tags: dict[RoomId, frozenset[str]] = {}
        for datum in await self._database.read(account_data_of_types, user_id, ["m.direct", "m.tag"]):
            content = orjson.loads(datum.content)
            if datum.type == "m.direct" and datum.room_id is None:
                direct = _direct_rooms(content)
            elif datum.type == "m.tag" and datum.room_id is not None and isinstance(content.get("tags"), dict):
                tags[datum.room_id] = frozenset(content["tags"])
        kept = self._kept[user_id] = _Kept(position, outside, direct, tags)
        self._kept.move_to_end(user_id)
        if len(self._kept) > _MOST_REMEMBERED:
            self._kept.popitem(last=False)
        return kept

    async def _outside(self, members: Collection[Membership], ignored: frozenset[UserId]) -> dict[RoomId, Outside]:
        asked = [row for row in members if row.membership in ("invite", "knock")]
        stripped = await self._invites.stripped_state([(row.room_id, row.event_id) for row in asked], ignored)
        outside = {
            row.room_id: Outside(row, stripped[row.room_id], *_traits_of_stripped(stripped[row.room_id]))
            for row in asked
            if row.room_id in stripped
        }
        put_out = await self.last_inside([row for row in members if row.membership in ("leave", "ban")])
        states = await self._state.at_many(list(put_out.values()), (_CREATE, _ENCRYPTION))
        for row in members:
            if (left := put_out.get(row.room_id)) is not None:
                create = states[left].get(_CREATE)
                room_type = None if create is None else create.event.content.get("type")
                outside[row.room_id] = Outside(
                    row, None, room_type if isinstance(room_type, str) else None, _ENCRYPTION in states[left], left
                )
        return outside

    async def last_inside(self, members: Collection[Membership]) -> dict[RoomId, StoredEvent]:
        """Return, for rooms that somebody has left, the events with which they did; not for where they never were."""
        looked_at: dict[RoomId, EventId] = {row.room_id: row.event_id for row in members}
        left: dict[RoomId, StoredEvent] = {}
        found: dict[RoomId, StoredEvent] = {}
        for _ in range(_MOST_STEPS):
            events = await self._timeline.events(list(looked_at.values()))
            before: dict[RoomId, EventId] = {}
            for room_id, event_id in looked_at.items():
                stored = events.get(event_id)
                if stored is None or stored.position is None:
                    continue
                if stored.event.content.get("membership") == "join":
                    if room_id in left:
                        found[room_id] = left[room_id]
                    continue
                left[room_id] = stored
                if stored.replaces is not None:
                    before[room_id] = stored.replaces
            looked_at = before
            if not looked_at:
                break
        return found


def _direct_rooms(content: object) -> frozenset[RoomId]:
    if not isinstance(content, dict):
        return frozenset()
    return frozenset(
        RoomId(room_id)
        for room_ids in content.values()
        if isinstance(room_ids, list)
        for room_id in room_ids
        if isinstance(room_id, str)
    )


def _traits_of_stripped(events: Collection[Json]) -> tuple[str | None, bool]:
    room_type, is_encrypted = None, False
    for encoded in events:
        event = orjson.loads(encoded)
        if event["type"] == "m.room.create" and isinstance(event["content"].get("type"), str):
            room_type = event["content"]["type"]
        is_encrypted = is_encrypted or (event["type"], event["state_key"]) == _ENCRYPTION
    return room_type, is_encrypted
