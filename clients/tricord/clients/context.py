"""Answering an event: what a handler sends carries an id made of the event's, so that handling twice answers once."""

from __future__ import annotations

import hashlib
from typing import Any, Protocol

from tricord.protocol.identifiers import EventId, RoomId, UserId


class Sender(Protocol):
    """What answering needs of a client."""

    user_id: UserId

    async def send(
        self, room_id: RoomId, event_type: str, content: dict[str, Any], *, transaction_id: str | None = None
    ) -> EventId:
        """Send an event."""
        ...

    async def mark_read(self, room_id: RoomId, event_id: EventId) -> None:
        """Say that we have read everything up to an event."""
        ...


class EventContext:
    """One handling of one event."""

    def __init__(self, sender: Sender, event_id: EventId) -> None:
        self.sender = sender
        self._event_id = event_id
        self._sent = 0

    async def send(self, room_id: RoomId, event_type: str, content: dict[str, Any]) -> EventId:
        """Send an event: the n-th answer to this event has the same transaction id however often it is handled."""
        self._sent += 1
        mark = hashlib.sha256(f"{self._event_id} {self._sent}".encode()).hexdigest()[:32]
        return await self.sender.send(room_id, event_type, content, transaction_id=mark)
