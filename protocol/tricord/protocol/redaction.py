"""What is left of an event when the rest must go: just enough to keep the room's history and state together.

Hashes and signatures cover the redacted form, so whoever knows only that can still check them.

https://spec.matrix.org/v1.19/client-server-api/#redactions
"""

from __future__ import annotations

from tricord.protocol.room_versions import RoomVersion
from tricord.protocol.strict_json import JsonObject


def redact(pdu: JsonObject, version: RoomVersion) -> JsonObject:
    """Return the redacted form of an event in federation format. What it keeps it shares with `pdu`."""
    rules = version.redaction
    redacted = {key: value for key, value in pdu.items() if key in rules.event_keys}
    event_type = pdu.get("type")
    if isinstance(event_type, str) and isinstance(pdu.get("content"), dict):
        redacted["content"] = redact_content(event_type, pdu["content"], version)
    return redacted


def redact_content(event_type: str, content: JsonObject, version: RoomVersion) -> JsonObject:
    """Return what a redaction leaves of the content of an event."""
    rules = version.redaction
    kept = rules.content_keys.get(event_type, frozenset())
    if kept is None:
        return content
    redacted = {key: value for key, value in content.items() if key in kept}
    for key, inner_kept in rules.nested_keys.get(event_type, {}).items():
        inner = content.get(key)
        if isinstance(inner, dict) and not inner_kept.isdisjoint(inner):
            redacted[key] = {name: value for name, value in inner.items() if name in inner_kept}
    return redacted
