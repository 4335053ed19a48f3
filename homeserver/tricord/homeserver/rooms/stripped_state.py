"""The little of a room's state that is shown to somebody outside of it, so that they see what it is.

https://spec.matrix.org/v1.19/client-server-api/#stripped-state
"""

from __future__ import annotations

from typing import Any

import orjson

from tricord.homeserver.rooms.state import RoomState
from tricord.protocol.errors import BadJson
from tricord.protocol.identifiers import RoomId, UserId
from tricord.protocol.strict_json import JsonObject, check_event_integers

_MOST_TOLD = 50
_MOST_BYTES = 100_000

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


def told_by_others(events: Any) -> list[JsonObject]:
    """Return what another server tells of a room, as far as it has the right form and is not too much to keep."""
    told: list[JsonObject] = []
    size = 0
    for event in events[:_MOST_TOLD] if isinstance(events, list) else ():
        match event:
            case {"type": str(), "state_key": str(), "sender": str(), "content": dict()}:
                try:
                    check_event_integers(event)
                except BadJson:
                    continue
                size += len(orjson.dumps(event))
                if size > _MOST_BYTES:
                    break
                told.append(event)
    return told
