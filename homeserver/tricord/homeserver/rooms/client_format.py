"""Events as clients see them: without what only servers need, and with what concerns the reader in `unsigned`.

The part that is the same for everybody is encoded once and kept with the event; what differs is spliced behind it.
https://spec.matrix.org/v1.19/client-server-api/#room-event-format
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from tricord.homeserver.rooms.aggregations import REFERENCE, REPLACE, THREAD, Aggregation
from tricord.homeserver.rooms.stored_event import StoredEvent
from tricord.homeserver.rooms.timeline import Timeline
from tricord.homeserver.rooms.visibility import Seen
from tricord.protocol.events import Event
from tricord.protocol.identifiers import EventId, UserId

_NOBODY: Mapping[EventId, StoredEvent] = {}


DELAYED = "org.matrix.msc4140.delayed/"
"""What transaction ids of events begin with that were sent later; the rest is the id that their sender knows."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads: a transaction id is shown only to the device that used it."""

    user_id: UserId
    device_id: str | None


def client_event(stored: StoredEvent, *, with_room_id: bool = True) -> bytes:
    """Return an event as JSON for any client, without `unsigned`."""
    return b"%b%b}" % (_begun(stored), _room_id(stored) if with_room_id else b"")


def client_event_for(
    stored: StoredEvent,
    reader: Reader,
    now_ms: int,
    *,
    companions: Mapping[EventId, StoredEvent] = _NOBODY,
    membership: str | None = None,
    aggregation: Aggregation | None = None,
    with_room_id: bool = True,
) -> bytes:
    """Return an event as JSON for a reader.

    `companions` holds the event that it replaced and the one that redacted it, as far as they are known, and the same
    of all that `aggregation` tells; `membership` is what the reader was to the room at the event.
    """
    unsigned = [b'"age":%d' % (now_ms - stored.event.origin_server_ts)]
    if membership is not None:
        unsigned.append(b'"membership":' + orjson.dumps(membership))
    if stored.transaction_id is not None and stored.event.sender == reader.user_id:
        if stored.transaction_id.startswith(DELAYED):
            delay_id = stored.transaction_id.removeprefix(DELAYED)
            unsigned.append(b'"org.matrix.msc4140.delay_id":' + orjson.dumps(delay_id))
        elif stored.sender_device == reader.device_id:
            unsigned.append(b'"transaction_id":' + orjson.dumps(stored.transaction_id))
    if stored.replaces is not None:
        unsigned.append(b'"replaces_state":' + orjson.dumps(stored.replaces))
        replaced = companions.get(stored.replaces)
        if replaced is not None:
            unsigned.append(b'"prev_content":' + orjson.dumps(replaced.event.content))
            unsigned.append(b'"prev_sender":' + orjson.dumps(replaced.event.sender))
    if stored.redacted_because is not None:
        redaction = companions.get(stored.redacted_because)
        if redaction is not None:
            unsigned.append(b'"redacted_because":' + client_event(redaction, with_room_id=with_room_id))
    if aggregation:

        def told(seen: Seen, of_it: Aggregation | None) -> bytes:
            return client_event_for(
                seen.stored,
                reader,
                now_ms,
                companions=companions,
                membership=seen.membership,
                aggregation=of_it,
                with_room_id=with_room_id,
            )

        unsigned.append(b'"m.relations":' + _relations(aggregation, told))
    room_id = _room_id(stored) if with_room_id else b""
    return b'%b%b,"unsigned":{%b}}' % (_begun(stored), room_id, b",".join(unsigned))


def _relations(aggregation: Aggregation, told: Callable[[Seen, Aggregation | None], bytes]) -> bytes:
    relations: dict[str, object] = {}
    if aggregation.replacement is not None:
        relations[REPLACE] = orjson.Fragment(told(aggregation.replacement, None))
    if (thread := aggregation.thread) is not None:
        relations[THREAD] = {
            "latest_event": orjson.Fragment(told(thread.latest, thread.of_latest)),
            "count": thread.count,
            "current_user_participated": thread.participated,
        }
    if aggregation.references:
        relations[REFERENCE] = {"chunk": [{"event_id": event_id} for event_id in aggregation.references]}
    return orjson.dumps(relations)


async def companions_of(events: Collection[StoredEvent], timeline: Timeline) -> dict[EventId, StoredEvent]:
    """Return the events that `client_event_for` wants beside some events."""
    wanted = {stored.replaces for stored in events} | {stored.redacted_because for stored in events}
    return await timeline.events([event_id for event_id in wanted if event_id is not None])


def _begun(stored: StoredEvent) -> bytes:
    """Return the JSON up to, not including, the room, `unsigned` or the closing brace."""
    if stored.client_json is None:
        # Frozen to everybody else: this is a memory of what the event says anyway.
        object.__setattr__(stored, "client_json", orjson.dumps(_common(stored.event))[:-1])
    return stored.client_json or b""


def _room_id(stored: StoredEvent) -> bytes:
    return b',"room_id":%b' % orjson.dumps(stored.event.room_id)


def _common(event: Event) -> dict[str, Any]:
    common: dict[str, Any] = {
        "type": event.type,
        "sender": event.sender,
        "content": event.content,
        "event_id": event.event_id,
        "origin_server_ts": event.origin_server_ts,
    }
    if event.state_key is not None:
        common["state_key"] = event.state_key
    if event.redacts is not None:
        # Clients of any age find it: https://spec.matrix.org/v1.19/client-server-api/#mroomredaction
        common["redacts"] = event.redacts
        common["content"] = {**event.content, "redacts": event.redacts}
    return common
