"""Which thread of a room an event is in.

An event is in a thread if it, or the event it relates to, or that one's, relates to a root with `m.thread`; three steps
are looked at. Everything else, the roots too, is in the main timeline.
https://spec.matrix.org/v1.19/client-server-api/#threaded-read-receipts
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from tricord.homeserver.rooms.stored_event import StoredEvent
from tricord.protocol.events import Event
from tricord.protocol.identifiers import EventId
from tricord.protocol.strict_json import JsonObject

MAIN = "main"
_MOST_STEPS = 3


def relation(event: Event) -> tuple[str, EventId] | None:
    """Return what an event says it is to which other one, if it says it properly."""
    return relation_in(event.content)


def relation_in(content: JsonObject) -> tuple[str, EventId] | None:
    """Return what an event of that content says it is to which other one."""
    relates_to = content.get("m.relates_to")
    if not isinstance(relates_to, dict):
        return None
    rel_type, target = relates_to.get("rel_type"), relates_to.get("event_id")
    if not isinstance(rel_type, str) or not isinstance(target, str):
        return None
    return rel_type, EventId(target)


async def thread_of(event: Event, event_by_id: Callable[[EventId], Awaitable[StoredEvent | None]]) -> str:
    """Return the root of the thread that an event is in, or `main`."""
    for step in range(_MOST_STEPS):
        related = relation(event)
        if related is None:
            return MAIN
        rel_type, target = related
        if rel_type == "m.thread":
            return target
        if step == _MOST_STEPS - 1:
            break
        parent = await event_by_id(target)
        if parent is None or parent.event.room_id != event.room_id:
            return MAIN
        event = parent.event
    return MAIN
