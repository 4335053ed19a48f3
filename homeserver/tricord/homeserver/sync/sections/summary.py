"""What a client needs to name a room whose members it does not know: how many there are, and a few of them.

https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3sync_response-200_roomsummary
"""

from __future__ import annotations

from collections.abc import Collection

from tricord.homeserver.rooms.heroes import NAMES, heroes_of, is_named
from tricord.homeserver.rooms.memberships import Memberships
from tricord.homeserver.rooms.state import RoomState
from tricord.protocol.identifiers import RoomId, UserId
from tricord.protocol.strict_json import JsonObject


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
        named = await self._state.current_in_rooms(dict.fromkeys(room_ids, NAMES))
        nameless = [room_id for room_id in room_ids if not is_named(named.get(room_id, {}))]
        heroes = await heroes_of(self._memberships, nameless, but=viewer)
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
