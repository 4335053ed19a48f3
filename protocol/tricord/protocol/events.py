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
from functools import lru_cache
from typing import Any, Self, TypeVar

import orjson

from tricord.protocol.event_format import check_format, check_size, read_references, write_references
from tricord.protocol.hashes import content_hash, encode_event, event_id_of, signed_form
from tricord.protocol.identifiers import EventId, KeyId, RoomId, ServerName, UserId, fits
from tricord.protocol.redaction import redact
from tricord.protocol.room_versions import EventIds, RoomVersion
from tricord.protocol.signing import SigningKey
from tricord.protocol.strict_json import JsonObject, parse_event_object, parse_object
from tricord.protocol.unpadded_base64 import encode_base64

Name = TypeVar("Name", bound=str)
AnyEvent = TypeVar("AnyEvent", bound="Event")


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
    json: bytes
    """The whole event in federation format, in canonical JSON."""
    version: RoomVersion

    def __repr__(self) -> str:
        return f"<{self.__class__.__name__} {self.event_id} {self.type}>"

    def __hash__(self) -> int:
        return hash(self.event_id)

    @property
    def is_state(self) -> bool:
        """Whether the event sets a piece of the room's state."""
        return self.state_key is not None

    @property
    def pdu(self) -> JsonObject:
        """The whole event in federation format, read from its JSON each time.

        Most events that are in memory are never asked for it, and it is several times as large as all else of them.
        """
        return _read(self.json, self.version)

    @property
    def unsigned(self) -> JsonObject:
        """What stands beside what is signed; read from the JSON each time, too."""
        return self.pdu.get("unsigned") or {}


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
        return cls(*_values(_read(json, version), json, event_id, version))


def parse_event(pdu: bytes | JsonObject, version: RoomVersion, *, any_number_of_references: bool = False) -> Event:
    """Return the event in `pdu`, or raise NotJson, BadJson or TooLarge if it does not have the version's format."""
    if not isinstance(pdu, dict):
        pdu = parse_event_object(pdu, strict=version.strict_canonical_json)
    json = encode_event(pdu, version)
    check_size(json)
    check_format(pdu, version, any_number_of_references=any_number_of_references)
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
    origin: ServerName | None = None,
    reference_hashes: Mapping[EventId, str] | None = None,
) -> VerifiedEvent:
    """Make an event, hash it and sign it; raise BadJson or TooLarge if the room version has no such event.

    `room_id` is None for the create event of a room that is named after it. `origin` is asked for by endpoints that
    events are handed to one by one, and means nothing. `reference_hashes` (base64) go into the references of the oldest
    versions, which have a place for them.
    """
    pdu: JsonObject = {
        "sender": sender,
        "type": type,
        "content": content,
        "origin_server_ts": origin_server_ts,
        # Remote events may have brought the depth to its end; it stays there.
        "depth": min(depth, version.max_depth),
        "prev_events": write_references(prev_events, version, reference_hashes or {}),
        "auth_events": write_references(auth_events, version, reference_hashes or {}),
    }
    if room_id is not None:
        pdu["room_id"] = room_id
    if origin is not None:
        pdu["origin"] = origin
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
    check_size(json)
    check_format(pdu, version)
    if version.event_ids is EventIds.CHOSEN_BY_SERVER:
        event_id = EventId(pdu["event_id"])
    else:
        event_id = event_id_of(signed, version)
    return VerifiedEvent(*_values(pdu, json, event_id, version))


def redacted_copy(event: AnyEvent) -> AnyEvent:
    """Return the redacted form of an event; a verified one stays verified, since signatures cover just that form."""
    pdu = redact(event.pdu, event.version)
    return event.__class__(*_values(pdu, encode_event(pdu, event.version), event.event_id, event.version))


def countersigned(event: AnyEvent, server_name: ServerName, key: SigningKey) -> AnyEvent:
    """Return an event with one more signature, as the server of an invited or an authorising user adds it."""
    signature = key.sign(signed_form(redact(event.pdu, event.version), event.version))
    return with_signature(event, server_name, key.key_id, signature)


def with_signature(event: AnyEvent, server_name: ServerName, key_id: KeyId, signature: str) -> AnyEvent:
    """Return an event with a signature that somebody else has made."""
    version, pdu = event.version, event.pdu
    pdu["signatures"].setdefault(server_name, {})[key_id] = signature
    json = encode_event(pdu, version)
    check_size(json)
    return event.__class__(*_values(pdu, json, event.event_id, version))


def with_unsigned(event: AnyEvent, more: JsonObject) -> AnyEvent:
    """Return an event with more beside what is signed."""
    pdu = event.pdu
    pdu["unsigned"] = {**(pdu.get("unsigned") or {}), **more}
    return event.__class__(*_values(pdu, encode_event(pdu, event.version), event.event_id, event.version))


def _read(json: bytes, version: RoomVersion) -> JsonObject:
    """Return what canonical JSON of ours says."""
    pdu: JsonObject = orjson.loads(json) if version.strict_canonical_json else parse_object(json)
    return pdu


@lru_cache(maxsize=8192)
def _same(name: Name) -> Name:
    """Return the same object for what recurs in many events: each has it in bytes of its own, where it was read."""
    return name


def _values(pdu: JsonObject, json: bytes, event_id: EventId, version: RoomVersion) -> tuple[Any, ...]:
    """Return the fields of an `Event` in their order, from a PDU whose format has been checked."""
    event_type, content, get = _same(pdu["type"]), pdu["content"], pdu.get
    if version.room_id_is_create_event_id and event_type == "m.room.create":
        room_id = "!" + event_id[1:]
    else:
        room_id = _same(pdu["room_id"])
    redacts = None
    if event_type == "m.room.redaction":
        redacts = (content if version.redacts_in_content else pdu).get("redacts")
    return (
        event_id,
        room_id,
        _same(pdu["sender"]),
        event_type,
        get("state_key"),
        content,
        pdu["origin_server_ts"],
        pdu["depth"],
        read_references(pdu["prev_events"], version),
        tuple(map(_same, read_references(pdu["auth_events"], version))),
        redacts if isinstance(redacts, str) and fits(redacts) and "\0" not in redacts else None,
        json,
        version,
    )
