"""What a client needs to name a room whose members it does not know: how many there are, and a few of them.

https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3sync_response-200_roomsummary
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from tricord.homeserver.rooms.memberships import Memberships
from tricord.homeserver.rooms.state import RoomState
from tricord.homeserver.rooms.stored_event import StateKey, StoredEvent
from tricord.protocol.identifiers import RoomId, UserId
from tricord.protocol.strict_json import JsonObject

_MOST_HEROES = 5
_NAMES: tuple[StateKey, ...] = (("m.room.name", ""), ("m.room.canonical_alias", ""))


class SummarySection:
    """Reads what rooms are called by."""

    def __init__(self, memberships: Memberships, state: RoomState) -> None:
        self._memberships = memberships
        self._state = state

    async def of(self, viewer: UserId, room_ids: Collection[RoomId]) -> dict[RoomId, JsonObject]:
        """Return the summaries of some rooms, as they are now."""
        if not room_ids:
            return {}
        counts = await self._memberships.counts(room_ids)
        named = await self._state.current_in_rooms(dict.fromkeys(room_ids, _NAMES))
        nameless = [room_id for room_id in room_ids if not _is_named(named.get(room_id, {}))]
        heroes = await self._heroes(viewer, nameless)
        summaries = {}
        for room_id in room_ids:
            of_room = counts.get(room_id)
            summary: JsonObject = {
                "m.joined_member_count": of_room.joined if of_room else 0,
                "m.invited_member_count": of_room.invited if of_room else 0,
            }
            if room_id in heroes:
                summary["m.heroes"] = heroes[room_id]
            summaries[room_id] = summary
        return summaries

    async def _heroes(self, viewer: UserId, room_ids: Collection[RoomId]) -> dict[RoomId, list[UserId]]:
        """Return who gives each of the rooms its name: its members; where there are none, those who were."""
        heroes: dict[RoomId, list[UserId]] = {room_id: [] for room_id in room_ids}
        for memberships in (("join", "invite"), ("leave", "ban")):
            lonely = [room_id for room_id, users in heroes.items() if not users]
            if lonely:
                heroes |= await self._memberships.first_members(lonely, memberships, but=viewer, limit=_MOST_HEROES)
        return heroes


def _is_named(names: Mapping[StateKey, StoredEvent]) -> bool:
    name, alias = (names.get(key) for key in _NAMES)
    return bool((name and name.event.content.get("name")) or (alias and alias.event.content.get("alias")))
