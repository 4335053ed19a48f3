"""Events for tests of rules: with the ids one likes, without hashes and signatures."""

from __future__ import annotations

from typing import Any

import orjson

from tricord.protocol.events import Event
from tricord.protocol.room_versions import RoomVersion


def bare_event(version: RoomVersion, **pdu: Any) -> Event:
    """Return an event as it would be parsed, whatever its id."""
    room_id = pdu.get("room_id", f"!{pdu['event_id'][1:]}")
    return Event(
        event_id=pdu["event_id"],
        room_id=room_id,
        sender=pdu["sender"],
        type=pdu["type"],
        state_key=pdu.get("state_key"),
        content=pdu["content"],
        origin_server_ts=pdu["origin_server_ts"],
        depth=pdu.get("depth", 1),
        prev_events=tuple(pdu["prev_events"]),
        auth_events=tuple(pdu["auth_events"]),
        redacts=pdu.get("redacts"),
        json=orjson.dumps(pdu, option=orjson.OPT_SORT_KEYS),
        version=version,
    )
