"""Events: read from their federation format, or made and signed by us.

An `Event` has the shape its room version asks for. A `VerifiedEvent` has been signed by those who must have, and its
content is the one they signed; only `verify.py`, the builder here and the database make them, so whoever is handed one
need not ask again.

https://spec.matrix.org/v1.19/server-server-api/#pdus
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import orjson

from tricord.protocol.errors import BadJson, TooLarge
from tricord.protocol.hashes import content_hash, encode_event, event_id_of, signed_form
from tricord.protocol.identifiers import (
    MAX_ID_BYTES,
    EventId,
    RoomId,
    ServerName,
    UserId,
    fits,
    is_valid_user_id,
)
from tricord.protocol.redaction import redact
from tricord.protocol.room_versions import EventIds, RoomVersion
from tricord.protocol.signing import SigningKey
from tricord.protocol.strict_json import JsonObject, parse_event_object, parse_object
from tricord.protocol.unpadded_base64 import encode_base64

MAX_EVENT_BYTES = 65_536
MAX_PREV_EVENTS = 20
MAX_AUTH_EVENTS = 10

AnyEvent = TypeVar("AnyEvent", bound="Event")

_MAX_TIMESTAMP = 2**63 - 1


@dataclass(frozen=True, slots=True, repr=False)
class Event:
    """An event of a room. Its id is right; whether anybody signed it is another question."""

    event_id: EventId
    room_id: RoomId
    sender: UserId
    type: str
    state_key: str | None
    content: JsonObject
    origin_server_ts: int
    depth: int
    prev_events: tuple[EventId, ...]
    auth_events: tuple[EventId, ...]
    redacts: EventId | None
    """The event to redact, from the place where the room version keeps it."""
    unsigned: JsonObject
    pdu: JsonObject
    """The whole event in federation format. Never change it: the hashes cover every key."""
    json: bytes
    """`pdu` in canonical JSON."""
    version: RoomVersion

    def __repr__(self) -> str:
        return f"<{self.__class__.__name__} {self.event_id} {self.type}>"

    def __hash__(self) -> int:
        return hash(self.event_id)

    @property
    def is_state(self) -> bool:
        """Whether the event sets a piece of the room's state."""
        return self.state_key is not None


class VerifiedEvent(Event):
    """An event with all its signatures checked, and cut down to its redacted form if its hash did not match."""

    __slots__ = ()

    @classmethod
    def from_verified(cls, event: Event) -> Self:
        """Return an event whose signatures and hash have just been checked."""
        return cls(*(getattr(event, name) for name in Event.__slots__))

    @classmethod
    def from_stored(cls, json: bytes, version: RoomVersion, event_id: EventId) -> Self:
        """Return an event that was verified before it was stored."""
        pdu = orjson.loads(json) if version.strict_canonical_json else parse_object(json)
        return cls(*_values(pdu, json, event_id, version))


def parse_event(pdu: bytes | JsonObject, version: RoomVersion) -> Event:
    """Return the event in `pdu`, or raise NotJson, BadJson or TooLarge if it does not have the version's format."""
    if not isinstance(pdu, dict):
        pdu = parse_event_object(pdu, strict=version.strict_canonical_json)
    json = encode_event(pdu, version)
    _check_size(json)
    _check_format(pdu, version)
    if version.event_ids is EventIds.CHOSEN_BY_SERVER:
        event_id = EventId(pdu["event_id"])
    else:
        event_id = event_id_of(signed_form(redact(pdu, version), version), version)
    return Event(*_values(pdu, json, event_id, version))


def build_event(
    *,
    version: RoomVersion,
    room_id: RoomId | None,
    sender: UserId,
    type: str,  # noqa: A002  # Matrix's own word
    state_key: str | None,
    content: JsonObject,
    origin_server_ts: int,
    depth: int,
    prev_events: Sequence[EventId],
    auth_events: Sequence[EventId],
    redacts: EventId | None = None,
    server_name: ServerName,
    key: SigningKey,
    reference_hashes: Mapping[EventId, str] | None = None,
) -> VerifiedEvent:
    """Make an event, hash it and sign it; raise BadJson or TooLarge if the room version has no such event.

    `room_id` is None for the create event of a room that is named after it. `reference_hashes` (base64) go into the
    references of the oldest versions, which have a place for them.
    """
    pdu: JsonObject = {
        "sender": sender,
        "type": type,
        "content": content,
        "origin_server_ts": origin_server_ts,
        # Remote events may have brought the depth to its end; it stays there.
        "depth": min(depth, version.max_depth),
        "prev_events": _references(prev_events, version, reference_hashes or {}),
        "auth_events": _references(auth_events, version, reference_hashes or {}),
    }
    if room_id is not None:
        pdu["room_id"] = room_id
    if state_key is not None:
        pdu["state_key"] = state_key
    if version.event_ids is EventIds.CHOSEN_BY_SERVER:
        pdu["event_id"] = f"${secrets.token_urlsafe(18)}:{server_name}"
    if redacts is not None:
        if version.redacts_in_content:
            pdu["content"] = {**content, "redacts": redacts}
        else:
            pdu["redacts"] = redacts
    pdu["hashes"] = {"sha256": encode_base64(content_hash(pdu, version))}
    signed = signed_form(redact(pdu, version), version)
    pdu["signatures"] = {server_name: {key.key_id: key.sign(signed)}}
    json = encode_event(pdu, version)
    _check_size(json)
    _check_format(pdu, version)
    if version.event_ids is EventIds.CHOSEN_BY_SERVER:
        event_id = EventId(pdu["event_id"])
    else:
        event_id = event_id_of(signed, version)
    return VerifiedEvent(*_values(pdu, json, event_id, version))


def redacted_copy(event: AnyEvent) -> AnyEvent:
    """Return the redacted form of an event; a verified one stays verified, since signatures cover just that form."""
    pdu = redact(event.pdu, event.version)
    return event.__class__(*_values(pdu, encode_event(pdu, event.version), event.event_id, event.version))


def _values(pdu: JsonObject, json: bytes, event_id: EventId, version: RoomVersion) -> tuple[Any, ...]:
    """Return the fields of an `Event` in their order, from a PDU whose format has been checked."""
    event_type, content, get = pdu["type"], pdu["content"], pdu.get
    if version.room_id_is_create_event_id and event_type == "m.room.create":
        room_id = "!" + event_id[1:]
    else:
        room_id = pdu["room_id"]
    redacts = None
    if event_type == "m.room.redaction":
        redacts = (content if version.redacts_in_content else pdu).get("redacts")
    references = _referred_with_hashes if version.references_carry_hashes else tuple
    return (
        event_id,
        room_id,
        pdu["sender"],
        event_type,
        get("state_key"),
        content,
        pdu["origin_server_ts"],
        pdu["depth"],
        references(pdu["prev_events"]),
        references(pdu["auth_events"]),
        redacts if isinstance(redacts, str) else None,
        get("unsigned") or {},
        pdu,
        json,
        version,
    )


def _check_size(json: bytes) -> None:
    if len(json) > MAX_EVENT_BYTES:
        raise TooLarge(f"the event has {len(json)} bytes, more than {MAX_EVENT_BYTES}")


def _check_format(pdu: JsonObject, version: RoomVersion) -> None:
    """Check that an event has the version's format, as far as the authorization rules do not judge it."""
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
    _check_references(pdu, "prev_events", MAX_PREV_EVENTS, version)
    _check_references(pdu, "auth_events", MAX_AUTH_EVENTS, version)


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
    if not fits(value) and (version.key_sizes_are_in_bytes or len(value) > MAX_ID_BYTES):
        raise TooLarge(f"the event's `{key}` is longer than {MAX_ID_BYTES} bytes")


def _check_references(pdu: JsonObject, key: str, most: int, version: RoomVersion) -> None:
    references = pdu.get(key)
    if type(references) is not list or len(references) > most:
        raise BadJson(f"the event's `{key}` is not an array of at most {most}")
    if version.references_carry_hashes:
        if not all(type(pair) is list and len(pair) == 2 and type(pair[1]) is dict for pair in references):
            raise BadJson(f"the event's `{key}` are not pairs of an id and hashes")
        references = [pair[0] for pair in references]
    # What an id looks like is left to its room version: one that names nothing is missing, not malformed.
    if not all(type(event_id) is str and fits(event_id) for event_id in references):
        raise BadJson(f"the event's `{key}` holds what is not an event id")


def _referred_with_hashes(pairs: Sequence[tuple[EventId, Any]]) -> tuple[EventId, ...]:
    return tuple(event_id for event_id, _ in pairs)


def _references(
    event_ids: Sequence[EventId], version: RoomVersion, hashes: Mapping[EventId, str]
) -> list[EventId] | list[list[Any]]:
    """Write references to events in the format of the version."""
    if not version.references_carry_hashes:
        return list(event_ids)
    return [[event_id, {"sha256": hashes[event_id]} if event_id in hashes else {}] for event_id in event_ids]
