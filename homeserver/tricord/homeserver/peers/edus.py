"""What passes, from other servers: typing and receipts. What is wrong with one harms no other.

https://spec.matrix.org/v1.19/server-server-api/#edus
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import structlog

from tricord.homeserver.clock import Clock
from tricord.homeserver.rooms.memberships import Memberships
from tricord.homeserver.rooms.receipts import READ, Receipts
from tricord.homeserver.rooms.timeline import Timeline
from tricord.homeserver.rooms.typing import Typing
from tricord.homeserver.storage.receipts import Receipt
from tricord.protocol.identifiers import EventId, RoomId, ServerName, UserId, is_valid_user_id, server_name_of
from tricord.protocol.strict_json import JsonObject

_TYPING_MS = 30_000
_MOST_RECEIPTS = 500

_logger = structlog.get_logger(__name__)

EduHandler = Callable[[ServerName, JsonObject], Awaitable[None]]


class Edus:
    """Takes in EDUs by their types; unknown ones are left out."""

    def __init__(
        self, typing: Typing, receipts: Receipts, timeline: Timeline, memberships: Memberships, clock: Clock
    ) -> None:
        self._typing = typing
        self._receipts = receipts
        self._timeline = timeline
        self._memberships = memberships
        self._clock = clock
        self._handlers: dict[str, EduHandler] = {"m.typing": self._take_typing, "m.receipt": self._take_receipts}

    def handle(self, edu_type: str, handler: EduHandler) -> None:
        """Let somebody take in the EDUs of a type; the handler is given the origin and the content."""
        self._handlers[edu_type] = handler

    async def receive(self, origin: ServerName, edus: Sequence[Any]) -> None:
        """Take in EDUs in their order."""
        for edu in edus:
            match edu:
                case {"edu_type": str(edu_type), "content": dict(content)}:
                    handler = self._handlers.get(edu_type)
                    if handler is None:
                        continue
                    try:
                        await handler(origin, content)
                    except Exception:  # one EDU must not keep the others from being heard
                        _logger.exception("an EDU could not be taken in", edu_type=edu_type, origin=origin)

    async def _take_typing(self, origin: ServerName, content: JsonObject) -> None:
        room_id, user_id = content.get("room_id"), content.get("user_id")
        if not isinstance(room_id, str) or not is_valid_user_id(user_id) or server_name_of(UserId(user_id)) != origin:
            return
        if UserId(user_id) not in await self._memberships.joined_members(RoomId(room_id)):
            return
        if content.get("typing") is True:
            await self._typing.start(RoomId(room_id), UserId(user_id), _TYPING_MS)
        else:
            await self._typing.stop(RoomId(room_id), UserId(user_id))

    async def _take_receipts(self, origin: ServerName, content: JsonObject) -> None:
        claimed = list(_receipts_of(content))[:_MOST_RECEIPTS]
        events = await self._timeline.events({event_id for _, _, event_id, _ in claimed})
        for room_id, user_id, event_id, data in claimed:
            stored = events.get(event_id)
            if server_name_of(user_id) != origin or stored is None or stored.event.room_id != room_id:
                continue
            if user_id not in await self._memberships.joined_members(room_id):
                continue
            ts, thread_id = data.get("ts"), data.get("thread_id")
            await self._receipts.move(
                Receipt(
                    room_id=room_id,
                    user_id=user_id,
                    receipt_type=READ,
                    thread_id=thread_id if isinstance(thread_id, str) else "",
                    event_id=event_id,
                    event_position=stored.position,
                    received_ts=ts if isinstance(ts, int) and 0 <= ts < 2**53 else self._clock.now_ms(),
                    position=0,
                )
            )


def _receipts_of(content: JsonObject) -> Iterator[tuple[RoomId, UserId, EventId, JsonObject]]:
    """Yield the well-formed receipts for reading; of other kinds nothing is said here."""
    for room_id, by_type in content.items():
        users = by_type.get(READ) if isinstance(by_type, dict) else None
        for user_id, receipt in (users if isinstance(users, dict) else {}).items():
            match receipt:
                case {"event_ids": [str(event_id), *_], "data": dict(data)} if is_valid_user_id(user_id):
                    yield RoomId(room_id), UserId(user_id), EventId(event_id), data
