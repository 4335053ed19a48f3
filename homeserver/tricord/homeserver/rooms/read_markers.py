"""What a user may mark as read: events of rooms they are in, in the thread they are in.

https://spec.matrix.org/v1.19/client-server-api/#receipts
https://spec.matrix.org/v1.19/client-server-api/#read-and-unread-markers
"""

from __future__ import annotations

from typing import Any, Protocol

from tricord.homeserver.clock import Clock
from tricord.homeserver.rooms.membership_checks import check_joined
from tricord.homeserver.rooms.memberships import Memberships
from tricord.homeserver.rooms.receipts import FULLY_READ, READ, READ_PRIVATE, Receipts
from tricord.homeserver.rooms.stored_event import StoredEvent
from tricord.homeserver.rooms.threads import MAIN, thread_of
from tricord.homeserver.rooms.timeline import Timeline
from tricord.homeserver.storage.receipts import UNTHREADED, Receipt
from tricord.protocol.errors import InvalidParam
from tricord.protocol.identifiers import EventId, RoomId, UserId, parse_event_id
from tricord.protocol.strict_json import JsonObject


class RoomAccountData(Protocol):
    """Where the fully-read marker is kept."""

    async def put_marker(self, user_id: UserId, room_id: RoomId, data_type: str, content: JsonObject) -> None:
        """Write a piece of a room's account data that clients cannot write themselves."""
        ...


class ReadMarkers:
    """Checks what users mark as read, and marks it."""

    def __init__(
        self,
        receipts: Receipts,
        timeline: Timeline,
        memberships: Memberships,
        account_data: RoomAccountData,
        clock: Clock,
    ) -> None:
        self._receipts = receipts
        self._timeline = timeline
        self._memberships = memberships
        self._account_data = account_data
        self._clock = clock

    async def mark(
        self, user_id: UserId, room_id: RoomId, receipt_type: str, event_id: EventId, thread_id: Any = None
    ) -> None:
        """Put one marker at an event."""
        await check_joined(self._memberships, user_id, room_id)
        if receipt_type not in (READ, READ_PRIVATE, FULLY_READ):
            raise InvalidParam(f"there is no receipt of type {receipt_type[:50]!r}")
        if thread_id is not None:
            _check_thread_id(receipt_type, thread_id)
        stored = await self._event_in(room_id, event_id)
        if receipt_type == FULLY_READ:
            await self._account_data.put_marker(user_id, room_id, FULLY_READ, {"event_id": event_id})
            return
        if thread_id is not None:
            await self._check_in_thread(stored, thread_id)
        await self._receipts.move(
            Receipt(
                room_id,
                user_id,
                receipt_type,
                thread_id or UNTHREADED,
                event_id,
                event_position=stored.position,
                received_ts=self._clock.now_ms(),
                position=0,
            )
        )

    async def mark_all(self, user_id: UserId, room_id: RoomId, markers: dict[str, str | None]) -> None:
        """Put several markers, each of which may be absent; if one is refused, none is put."""
        await check_joined(self._memberships, user_id, room_id)
        wanted = {kind: parse_event_id(event_id) for kind, event_id in markers.items() if event_id is not None}
        for event_id in wanted.values():
            await self._event_in(room_id, event_id)
        for receipt_type, event_id in wanted.items():
            await self.mark(user_id, room_id, receipt_type, event_id)

    async def _event_in(self, room_id: RoomId, event_id: EventId) -> StoredEvent:
        stored = await self._timeline.event(event_id)
        if stored is None or stored.event.room_id != room_id or stored.position is None or stored.rejected:
            raise InvalidParam(f"there is no event {event_id} in {room_id}")
        return stored

    async def _check_in_thread(self, stored: StoredEvent, thread_id: str) -> None:
        # A root is read in the main timeline; some clients acknowledge it in its thread, which says less, not more.
        if thread_id not in (await thread_of(stored.event, self._timeline.event), stored.event.event_id):
            raise InvalidParam(f"{stored.event.event_id} is not in the thread {thread_id[:255]}")


def _check_thread_id(receipt_type: str, thread_id: Any) -> None:
    if not isinstance(thread_id, str) or not thread_id:
        raise InvalidParam("thread_id must be a string that is not empty")
    if receipt_type == FULLY_READ:
        raise InvalidParam(f"{FULLY_READ} has no threads")
    if thread_id != MAIN and not thread_id.startswith("$"):
        raise InvalidParam("thread_id is neither `main` nor an event id")
