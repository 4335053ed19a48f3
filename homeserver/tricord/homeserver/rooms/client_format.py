"""Events as clients see them: without what only servers need, and with what concerns the reader in `unsigned`.

https://spec.matrix.org/v1.19/client-server-api/#room-event-format
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from tricord.homeserver.rooms.stored_event import StoredEvent
from tricord.homeserver.rooms.timeline import Timeline
from tricord.protocol.identifiers import EventId, UserId


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads: a transaction id is shown only to the device that used it."""

    user_id: UserId
    device_id: str | None


def client_event(stored: StoredEvent, *, with_room_id: bool = True) -> bytes:
    """Return an event as JSON for any client, without `unsigned`."""
    raise NotImplementedError


def client_event_for(
    stored: StoredEvent,
    reader: Reader,
    now_ms: int,
    *,
    companions: Mapping[EventId, StoredEvent],
    membership: str | None = None,
    with_room_id: bool = True,
) -> bytes:
    """Return an event as JSON for a reader.

    `companions` holds the event that it replaced and the one that redacted it, as far as they are known; `membership`
    is what the reader was to the room at the event.
    """
    raise NotImplementedError


async def companions_of(events: Collection[StoredEvent], timeline: Timeline) -> dict[EventId, StoredEvent]:
    """Return the events that `client_event_for` wants beside some events."""
    raise NotImplementedError
