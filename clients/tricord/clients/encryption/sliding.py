"""What a sliding sync tells, for the machine: the same as `/sync`, elsewhere, and of some rooms only.

https://github.com/matrix-org/matrix-spec-proposals/pull/4186
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from tricord.protocol.identifiers import RoomId
from tricord.protocol.strict_json import JsonObject

_NEEDED = (("m.room.encryption", ""), ("m.room.history_visibility", ""), ("m.room.member", "*"))
_GONE = frozenset({"leave", "ban"})


def as_sync(answer: JsonObject) -> JsonObject:
    """Return an answer in the form of one of `/sync`, as far as encryption depends on it."""
    extensions = _object(answer, "extensions")
    sections: dict[str, dict[str, JsonObject]] = {"join": {}, "invite": {}, "leave": {}}
    for room_id, room in _object(answer, "rooms").items():
        if not isinstance(room, dict):
            continue
        stripped = room.get("invite_state") or room.get("stripped_state")
        if isinstance(stripped, list) and stripped:
            sections["invite"][room_id] = {"invite_state": {"events": stripped}}
            continue
        sections["leave" if room.get("membership") in _GONE else "join"][room_id] = {
            "timeline": {"events": room.get("timeline"), "limited": room.get("limited")},
            # As it is after the timeline, whatever is older in there.
            "state_after": {"events": room.get("required_state")},
        }
    return {**_object(extensions, "e2ee"), "to_device": _object(extensions, "to_device"), "rooms": sections}


def tells_devices(answer: JsonObject) -> bool:
    """Return whether an answer tells whose devices have changed: else its position says nothing of that."""
    return isinstance(_object(answer, "extensions").get("e2ee"), dict)


def next_message(answer: JsonObject) -> str | None:
    """Return the position in the messages to our device after those of an answer."""
    token = _object(_object(answer, "extensions"), "to_device").get("next_batch")
    return token if isinstance(token, str) else None


def followed_rooms(subscriptions: Mapping[str, Any], answer: JsonObject) -> set[RoomId]:
    """Return the rooms of which an answer leaves out nothing that encryption depends on.

    They are those that were subscribed to with all of their members.
    """
    rooms = _object(answer, "rooms")
    # A timeline that begins earlier than the last one tells old memberships as if they were new.
    expanded = {room_id for room_id in rooms if _object(rooms, room_id).get("unstable_expanded_timeline")}
    return {RoomId(room_id) for room_id, wanted in subscriptions.items() if _wants_all(wanted)} - expanded


def with_position(extensions: Mapping[str, Any] | None, position: str | None) -> Mapping[str, Any] | None:
    """Return the extensions to ask for, with the position up to which messages to our device were taken in."""
    wanted = (extensions or {}).get("to_device")
    if extensions is None or position is None or not isinstance(wanted, Mapping) or "since" in wanted:
        return extensions
    return {**extensions, "to_device": {**wanted, "since": position}}


def _wants_all(wanted: Any) -> bool:
    """Return whether a subscription is told all the state that encryption depends on, in either dialect."""
    state = wanted.get("required_state") if isinstance(wanted, Mapping) else None
    pairs: list[tuple[Any, Any]] = []
    if isinstance(state, Mapping):
        if state.get("lazy_members") or state.get("exclude"):
            return False
        pairs = [(one.get("type", "*"), one.get("state_key", "*")) for one in _mappings(state.get("include"))]
    elif isinstance(state, Collection):
        pairs = [(pair[0], pair[1]) for pair in state if isinstance(pair, list | tuple) and len(pair) == 2]
    return all(
        any(event_type in {name, "*"} and state_key in {key, "*"} for event_type, state_key in pairs)
        for name, key in _NEEDED
    )


def _mappings(values: Any) -> list[Mapping[str, Any]]:
    return [value for value in values if isinstance(value, Mapping)] if isinstance(values, list | tuple) else []


def _object(container: Any, key: str) -> dict[str, Any]:
    """Return an object inside a foreign object; an empty one if there is none."""
    found = container.get(key) if isinstance(container, dict) else None
    return found if isinstance(found, dict) else {}
