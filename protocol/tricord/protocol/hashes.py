"""The two hashes of an event, and the id that follows from one of them.

The content hash covers the whole event and is written into it; the reference hash covers its redacted form, the
content hash included, and names it.

https://spec.matrix.org/v1.19/server-server-api/#signing-events
"""

from __future__ import annotations

from hashlib import sha256

from tricord.protocol.canonical_json import canonical_json, lenient_canonical_json
from tricord.protocol.errors import BadJson
from tricord.protocol.identifiers import EventId
from tricord.protocol.redaction import redact
from tricord.protocol.room_versions import EventIds, RoomVersion
from tricord.protocol.signing import UNSIGNED_KEYS
from tricord.protocol.strict_json import JsonObject
from tricord.protocol.unpadded_base64 import decode_base64, encode_base64, encode_url_safe_base64

_NOT_HASHED = UNSIGNED_KEYS | {"hashes"}


def encode_event(pdu: JsonObject, version: RoomVersion) -> bytes:
    """Return the canonical JSON of an event, as strict as its room is; raise BadJson if it has none."""
    encoded = canonical_json(pdu) if version.strict_canonical_json else lenient_canonical_json(pdu)
    # Copied, for events are kept in memory by the ten thousand, and what orjson returns holds 4 kB however short it is.
    return bytes(memoryview(encoded))


def content_hash(pdu: JsonObject, version: RoomVersion) -> bytes:
    """Return the hash that `hashes.sha256` must show."""
    return sha256(encode_event(_without(pdu, _NOT_HASHED), version)).digest()


def content_hash_matches(pdu: JsonObject, version: RoomVersion) -> bool:
    """Return whether an event is the one that was signed, to the last key of its content."""
    hashes = pdu.get("hashes")
    try:
        return isinstance(hashes, dict) and decode_base64(hashes.get("sha256")) == content_hash(pdu, version)
    except BadJson:
        return False


def signed_form(redacted: JsonObject, version: RoomVersion) -> bytes:
    """Return what signatures and the reference hash cover, of an event that is redacted already."""
    return encode_event(_without(redacted, UNSIGNED_KEYS), version)


def reference_hash(pdu: JsonObject, version: RoomVersion) -> bytes:
    """Return the hash by which others refer to an event."""
    return sha256(signed_form(redact(pdu, version), version)).digest()


def event_id_of(signed: bytes, version: RoomVersion) -> EventId:
    """Return the id that an event has by its signed form, in versions where the hash is the id."""
    digest = sha256(signed).digest()
    if version.event_ids is EventIds.HASH:
        return EventId("$" + encode_base64(digest))
    return EventId("$" + encode_url_safe_base64(digest))


def _without(pdu: JsonObject, keys: frozenset[str]) -> JsonObject:
    return {key: value for key, value in pdu.items() if key not in keys}
