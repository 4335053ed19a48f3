"""The little of a room's state that is shown to somebody outside of it, so that they see what it is.

https://spec.matrix.org/v1.19/client-server-api/#stripped-state
"""

from __future__ import annotations

from tricord.homeserver.rooms.state import RoomState
from tricord.protocol.identifiers import RoomId, UserId
from tricord.protocol.strict_json import JsonObject

SHOWN = (
    "m.room.create",
    "m.room.name",
    "m.room.avatar",
    "m.room.topic",
    "m.room.join_rules",
    "m.room.canonical_alias",
    "m.room.encryption",
)


async def stripped_room_state(state: RoomState, room_id: RoomId, sender: UserId) -> list[JsonObject]:
    """Return, as other servers are sent it, what may be told of a room, and who sends the invitation."""
    keys = [(event_type, "") for event_type in SHOWN]
    found = await state.current(room_id, [*keys, ("m.room.member", sender)])
    return [stored.event.pdu for stored in found.values()]
