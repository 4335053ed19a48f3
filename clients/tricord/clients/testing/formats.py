"""Events as clients see them.

https://spec.matrix.org/v1.19/client-server-api/#room-event-format
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tricord.clients.testing.accounts import Device
from tricord.clients.testing.room import MEMBER, Room, State, Stored
from tricord.clients.testing.world import World
from tricord.protocol.event_filters import RoomEventFilter
from tricord.protocol.identifiers import UserId
from tricord.protocol.strict_json import JsonObject

_SHOWN_TO_INVITED = (
    "m.room.create",
    "m.room.name",
    "m.room.avatar",
    "m.room.topic",
    "m.room.join_rules",
    "m.room.canonical_alias",
    "m.room.encryption",
)


def client_event(stored: Stored, device: Device, world: World, *, with_room_id: bool = True) -> JsonObject:
    """Return an event as JSON for a device."""
    event = stored.event
    shown: JsonObject = {
        "type": event.type,
        "sender": event.sender,
        "content": event.content,
        "event_id": event.event_id,
        "origin_server_ts": event.origin_server_ts,
    }
    if event.state_key is not None:
        shown["state_key"] = event.state_key
    if event.redacts is not None:
        shown["redacts"] = event.redacts
        shown["content"] = {**event.content, "redacts": event.redacts}
    if with_room_id:
        shown["room_id"] = event.room_id
    unsigned: JsonObject = {"age": world.now_ms() - event.origin_server_ts}
    if stored.transaction is not None and stored.transaction[:2] == (device.user.user_id, device.device_id):
        unsigned["transaction_id"] = stored.transaction[-1]
    if stored.replaces is not None:
        unsigned["replaces_state"] = stored.replaces.event.event_id
        unsigned["prev_content"] = stored.replaces.event.content
        unsigned["prev_sender"] = stored.replaces.event.sender
    if stored.redacted_because is not None:
        unsigned["redacted_because"] = client_event(stored.redacted_because, device, world, with_room_id=with_room_id)
    shown["unsigned"] = unsigned
    return shown


def stripped_state(state: State, member: Stored) -> list[JsonObject]:
    """Return the little that is shown of a room to somebody outside of it, and what makes them somebody.

    https://spec.matrix.org/v1.19/client-server-api/#stripped-state
    """
    keys = [*((event_type, "") for event_type in _SHOWN_TO_INVITED), (MEMBER, str(member.event.sender))]
    shown = [state[key] for key in keys if key in state and state[key] is not member]
    return [_stripped(stored) for stored in (*shown, member)]


def wanted_state(
    state: Iterable[Stored], timeline: Sequence[Stored], wanted: RoomEventFilter, room: Room
) -> list[Stored]:
    """Return what a filter lets through of the state that is told beside some events."""
    if not wanted.allows_room(room.room_id):
        return []
    senders = {stored.event.sender for stored in timeline}
    return [
        stored
        for stored in state
        if wanted.allows(stored.event)
        # https://spec.matrix.org/v1.19/client-server-api/#lazy-loading-room-members
        and (not wanted.lazy_load_members or stored.event.type != MEMBER or stored.event.state_key in senders)
    ]


def summary(room: Room, user_id: UserId) -> JsonObject:
    """Return what a client needs to name a room without knowing its members."""
    joined, invited = room.members("join"), room.members("invite")
    heroes = [member for member in (*joined, *invited) if member != user_id][:5]
    return {
        "m.heroes": heroes,
        "m.joined_member_count": len(joined),
        "m.invited_member_count": len(invited),
    }


def _stripped(stored: Stored) -> JsonObject:
    event = stored.event
    return {"type": event.type, "state_key": event.state_key, "sender": event.sender, "content": event.content}
