"""Answering an event: what a handler sends carries an id made of the event's, so that handling twice answers once."""

from __future__ import annotations

import hashlib
from typing import Any, Protocol

from tricord.protocol.identifiers import EventId, RoomId


class Sender(Protocol):
    """What answering needs of a client."""

    async def send(
        self, room_id: RoomId, event_type: str, content: dict[str, Any], *, transaction_id: str | None = None
    ) -> EventId:
        """Send an event."""
        ...


class EventContext:
    """One handling of one event by one handler."""

    def __init__(self, sender: Sender, event_id: EventId, handler: str = "") -> None:
        self._sender = sender
        self._event_id = event_id
        self._handler = handler
        self._sent = 0

    async def send(self, room_id: RoomId, event_type: str, content: dict[str, Any]) -> EventId:
        """Send an event: the handler's n-th answer to this event has the same transaction id whenever it is sent.

        Handlers are counted apart: were they counted together, one that fails at first would shift the numbers of the
        others, and their answers would be taken for repetitions.
        """
        self._sent += 1
        mark = hashlib.sha256(f"{self._event_id} {self._handler} {self._sent}".encode()).hexdigest()[:32]
        return await self._sender.send(room_id, event_type, content, transaction_id=mark)
