"""The format of events on their way between servers, as each room version has it.

What is checked here makes an event an event; whether it may be in its room is for `authorization.py`.

https://spec.matrix.org/v1.19/server-server-api/#pdus
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tricord.protocol.errors import BadJson, TooLarge
from tricord.protocol.identifiers import MAX_ID_BYTES, EventId, fits, is_valid_user_id
from tricord.protocol.room_versions import EventIds, RoomVersion
from tricord.protocol.strict_json import JsonObject

MAX_EVENT_BYTES = 65_536
MAX_PREV_EVENTS = 20
MAX_AUTH_EVENTS = 10

_MAX_TIMESTAMP = 2**63 - 1


def check_size(json: bytes) -> None:
    """Raise TooLarge if an event, in canonical JSON, is larger than any may be."""
    if len(json) > MAX_EVENT_BYTES:
        raise TooLarge(f"the event has {len(json)} bytes, more than {MAX_EVENT_BYTES}")


def check_format(pdu: JsonObject, version: RoomVersion, *, any_number_of_references: bool = False) -> None:
    """Raise BadJson or TooLarge if an event does not have the version's format.

    Of old there were events with more references than there may be: where history is told, they are events.
    """
    sender, depth, timestamp = pdu.get("sender"), pdu.get("depth"), pdu.get("origin_server_ts")
    if not is_valid_user_id(sender):
        raise BadJson("the event's `sender` is not a user id")
    if type(depth) is not int or not 0 <= depth <= version.max_depth:
        raise BadJson(f"the event's `depth` is not an integer from 0 to {version.max_depth}")
    if type(timestamp) is not int or abs(timestamp) > _MAX_TIMESTAMP:
        raise BadJson("the event's `origin_server_ts` is not an integer")
    _check_key(pdu, "type", version)
    if "state_key" in pdu:
        _check_key(pdu, "state_key", version)
    for key in ("content", "hashes", "signatures", *(("unsigned",) if "unsigned" in pdu else ())):
        if type(pdu.get(key)) is not dict:
            raise BadJson(f"the event's `{key}` is not an object")
    for by_server in pdu["signatures"].values():
        if type(by_server) is not dict:
            raise BadJson("the event's `signatures` are not grouped by server")
    _check_ids(pdu, version)
    for key, most in (("prev_events", MAX_PREV_EVENTS), ("auth_events", MAX_AUTH_EVENTS)):
        _check_references(pdu, key, None if any_number_of_references else most, version)


def _check_ids(pdu: JsonObject, version: RoomVersion) -> None:
    if version.event_ids is EventIds.CHOSEN_BY_SERVER:
        _check_key(pdu, "event_id", version, sigil="$", with_server_name=True)
    elif "event_id" in pdu:
        raise BadJson("the event bears an `event_id`, which is its hash in this room version")
    if not version.room_id_is_create_event_id:
        _check_key(pdu, "room_id", version, sigil="!", with_server_name=True)
    elif pdu["type"] != "m.room.create":
        _check_key(pdu, "room_id", version, sigil="!")


def _check_key(
    pdu: JsonObject, key: str, version: RoomVersion, *, sigil: str = "", with_server_name: bool = False
) -> None:
    value = pdu.get(key)
    if type(value) is not str or not value.startswith(sigil) or (with_server_name and ":" not in value):
        raise BadJson(f"the event's `{key}` is missing or malformed")
    # A character like others to JSON, but databases hold none in what they search by.
    if "\0" in value:
        raise BadJson(f"the event's `{key}` holds a NUL")
    if not fits(value) and (version.key_sizes_are_in_bytes or len(value) > MAX_ID_BYTES):
        raise TooLarge(f"the event's `{key}` is longer than {MAX_ID_BYTES} bytes")


def _check_references(pdu: JsonObject, key: str, most: int | None, version: RoomVersion) -> None:
    references = pdu.get(key)
    if type(references) is not list:
        raise BadJson(f"the event's `{key}` is not an array")
    if most is not None and len(references) > most:
        raise BadJson(f"the event's `{key}` is not an array of at most {most}")
    if version.references_carry_hashes:
        if not all(type(pair) is list and len(pair) == 2 and type(pair[1]) is dict for pair in references):
            raise BadJson(f"the event's `{key}` are not pairs of an id and hashes")
        references = [pair[0] for pair in references]
    # What an id looks like is left to its room version: one that names nothing is missing, not malformed.
    if not all(type(event_id) is str and fits(event_id) and "\0" not in event_id for event_id in references):
        raise BadJson(f"the event's `{key}` holds what is not an event id")


def read_references(references: Sequence[Any], version: RoomVersion) -> tuple[EventId, ...]:
    """Return the ids in `prev_events` or `auth_events`, whose format has been checked."""
    return tuple(pair[0] for pair in references) if version.references_carry_hashes else tuple(references)


def write_references(
    event_ids: Sequence[EventId], version: RoomVersion, hashes: Mapping[EventId, str]
) -> list[EventId] | list[list[Any]]:
    """Write references to events as the version has them, with those of their hashes that are known."""
    if not version.references_carry_hashes:
        return list(event_ids)
    return [[event_id, {"sha256": hashes[event_id]} if event_id in hashes else {}] for event_id in event_ids]
