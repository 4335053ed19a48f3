"""The lists of rooms that a client looks at: filtered, the most active first, and of each the windows it wants."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter

from tricord.clients.api.sliding_sync import RoomFilters, RoomList
from tricord.homeserver.rooms.state import RoomState
from tricord.homeserver.rooms.stored_event import StateKey
from tricord.homeserver.sync.sliding.activity import Activity, RoomActivity
from tricord.homeserver.sync.sliding.own_rooms import OwnRooms
from tricord.homeserver.sync.sliding.wishes import RoomWish, room_wish
from tricord.protocol.identifiers import RoomId, UserId

_ENCRYPTION: StateKey = ("m.room.encryption", "")
_SPACE = "m.space"
_MOST_CHILDREN = 5_000


@dataclass(frozen=True, slots=True)
class LookedAt:
    """What a client looks at: how many rooms its lists have, and what it wants of those in its windows."""

    counts: Mapping[str, int]
    rooms: Mapping[RoomId, RoomWish]
    # The rooms in the windows of each list.
    windows: Mapping[str, Sequence[RoomId]]


class RoomLists:
    """Finds the rooms in lists."""

    def __init__(self, activity: RoomActivity, state: RoomState) -> None:
        self._activity = activity
        self._state = state

    async def look_at(
        self,
        user_id: UserId,
        lists: Mapping[str, RoomList],
        subscriptions: Mapping[RoomId, RoomWish],
        own: OwnRooms,
    ) -> LookedAt:
        """Return what is looked at."""
        rooms: dict[RoomId, RoomWish] = {}
        counts: dict[str, int] = {}
        windows: dict[str, Sequence[RoomId]] = {}
        if lists:
            activity = await self._activity.of(own.joined)
            ordered = _by_activity(own, activity)
            for name, wanted in lists.items():
                among = await self._filtered(ordered, wanted.filters, own, activity)
                counts[name] = len(among)
                windows[name] = among if (ranges := _ranges(wanted)) is None else _within(among, ranges)
                wish = room_wish(wanted, user_id, of_list=name)
                for room_id in windows[name]:
                    before = rooms.get(room_id)
                    rooms[room_id] = wish if before is None else before.and_also(wish)
        for room_id, wish in subscriptions.items():
            if room_id in own.joined or room_id in own.outside:
                before = rooms.get(room_id)
                rooms[room_id] = wish if before is None else before.and_also(wish)
        return LookedAt(counts, rooms, windows)

    async def _filtered(
        self, rooms: Sequence[RoomId], wanted: RoomFilters, own: OwnRooms, activity: Mapping[RoomId, Activity]
    ) -> Sequence[RoomId]:
        outside = own.outside
        is_invite = wanted.is_invite if wanted.is_invited is None else wanted.is_invited
        if wanted.is_dm is not None:
            rooms = [r for r in rooms if (r in own.direct) is wanted.is_dm]
        if is_invite is not None:
            rooms = [r for r in rooms if (r in outside and outside[r].member.membership == "invite") is is_invite]
        if wanted.room_types is not None or wanted.not_room_types is not None:
            types, not_types, kinds = wanted.room_types, wanted.not_room_types or (), _types(own, activity)
            rooms = [r for r in rooms if (kind := kinds.get(r)) not in not_types and (types is None or kind in types)]
        if wanted.tags is not None or wanted.not_tags:
            tags, not_tags, none = wanted.tags, frozenset(wanted.not_tags or ()), frozenset[str]()
            rooms = [
                room_id
                for room_id in rooms
                if (tagged := own.tags.get(room_id, none)).isdisjoint(not_tags)
                and (tags is None or not tagged.isdisjoint(tags))
            ]
        if wanted.spaces is not None:
            children = await self._children(wanted.spaces, own, activity)
            rooms = [room_id for room_id in rooms if room_id in children]
        if wanted.is_encrypted is not None:
            encrypted = await self._encrypted(rooms, own)
            rooms = [room_id for room_id in rooms if (room_id in encrypted) is wanted.is_encrypted]
        return rooms

    async def _children(
        self, spaces: Iterable[str], own: OwnRooms, activity: Mapping[RoomId, Activity]
    ) -> frozenset[str]:
        """Return the rooms in those of the spaces that the user is in."""
        joined = [
            room_id
            for space in spaces
            if (room_id := RoomId(space)) in own.joined and activity[room_id].room_type == _SPACE
        ]
        found = await self._state.of_type_in_rooms(joined, "m.space.child", most_per_room=_MOST_CHILDREN)
        return frozenset(
            stored.event.state_key
            for children in found.values()
            for stored in children
            if stored.event.state_key is not None and isinstance(stored.event.content.get("via"), list)
        )

    async def _encrypted(self, rooms: Iterable[RoomId], own: OwnRooms) -> set[RoomId]:
        inside = [room_id for room_id in rooms if room_id in own.joined]
        states = await self._state.current_in_rooms(dict.fromkeys(inside, (_ENCRYPTION,)))
        encrypted = {room_id for room_id, state in states.items() if state}
        return encrypted | {room_id for room_id, room in own.outside.items() if room.is_encrypted}


def _by_activity(own: OwnRooms, activity: Mapping[RoomId, Activity]) -> list[RoomId]:
    """Return all rooms, the most active first: those outside of which the user is, by when they came there."""
    last = {room_id: known.last for room_id, known in activity.items()}
    last |= {room_id: room.member.position for room_id, room in own.outside.items()}
    return [room_id for room_id, _ in sorted(last.items(), key=itemgetter(1, 0), reverse=True)]


def _types(own: OwnRooms, activity: Mapping[RoomId, Activity]) -> dict[RoomId, str | None]:
    types = {room_id: known.room_type for room_id, known in activity.items()}
    types |= {room_id: room.room_type for room_id, room in own.outside.items()}
    return types


def _ranges(wanted: RoomList) -> list[list[int]] | None:
    ranges = wanted.ranges if wanted.range is None else [wanted.range]
    return ranges or None


def _within(rooms: Sequence[RoomId], ranges: Iterable[Sequence[int]]) -> list[RoomId]:
    """Return the rooms at some places, both ends included."""
    return list(dict.fromkeys(room_id for first, last in ranges for room_id in rooms[first : last + 1]))
