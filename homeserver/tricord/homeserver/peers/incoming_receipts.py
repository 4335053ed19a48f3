"""How far users of other servers have read.

https://spec.matrix.org/v1.19/server-server-api/#receipts
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Protocol

import trio

from tricord.homeserver.clock import Clock
from tricord.homeserver.peers.incoming_typing import AccessLists, Members
from tricord.homeserver.rooms.receipts import READ, Receipts
from tricord.homeserver.rooms.stored_event import StoredEvent
from tricord.homeserver.rooms.threads import MAIN
from tricord.homeserver.storage.receipts import UNTHREADED, Receipt
from tricord.protocol.errors import BadJson, MatrixError
from tricord.protocol.identifiers import (
    EventId,
    RoomId,
    ServerName,
    UserId,
    is_valid_user_id,
    parse_event_id,
    server_name_of,
)
from tricord.protocol.strict_json import JsonObject

_MOST_RECEIPTS = 1000
_LATEST_TS = 2**53 - 1


class EventsById(Protocol):
    """Knows events."""

    async def event(self, event_id: EventId) -> StoredEvent | None: ...


class IncomingReceipts:
    """Takes in `m.receipt`."""

    def __init__(
        self, receipts: Receipts, timeline: EventsById, members: Members, access: AccessLists, clock: Clock
    ) -> None:
        self._receipts = receipts
        self._timeline = timeline
        self._members = members
        self._access = access
        self._clock = clock

    async def receive(self, origin: ServerName, content: JsonObject) -> None:
        """Move the receipts of members; what is wrong among them is left out."""
        found: list[Receipt] = []
        for room_id, by_type in list(content.items())[:_MOST_RECEIPTS]:
            if "\0" in room_id or not isinstance(by_type, dict) or not isinstance(by_type.get(READ), dict):
                continue
            members = await self._members.joined_members(RoomId(room_id))
            mine: JsonObject = {
                user: receipt
                for user, receipt in by_type[READ].items()
                if is_valid_user_id(user) and server_name_of(user) == origin and user in members
            }
            if mine and await self._is_let_in(origin, RoomId(room_id)):
                found += self._read(RoomId(room_id), mine)
        # Together, so that they are written together.
        async with trio.open_nursery() as nursery:
            for receipt in found[:_MOST_RECEIPTS]:
                nursery.start_soon(self._move, receipt)

    async def _is_let_in(self, origin: ServerName, room_id: RoomId) -> bool:
        try:
            await self._access.check_acl(origin, room_id)
        except MatrixError:
            return False
        return True

    def _read(self, room_id: RoomId, by_user: JsonObject) -> Iterator[Receipt]:
        for user, said in by_user.items():
            try:
                event_id, thread_id = _place_of(said)
            except MatrixError:
                continue
            ts = said["data"].get("ts") if isinstance(said.get("data"), dict) else None
            received_ts: int = ts if type(ts) is int and 0 <= ts <= _LATEST_TS else self._clock.now_ms()
            yield Receipt(room_id, UserId(user), READ, thread_id, event_id, None, received_ts, position=0)

    async def _move(self, receipt: Receipt) -> None:
        stored = await self._timeline.event(receipt.event_id)
        # One that is not here yet may still come.
        if stored is not None and stored.event.room_id != receipt.room_id:
            return
        if receipt.thread_id not in (UNTHREADED, MAIN):
            # There are as many threads as there are events, and no more.
            root = await self._timeline.event(EventId(receipt.thread_id))
            if root is None or root.event.room_id != receipt.room_id:
                return
        await self._receipts.move(replace(receipt, event_position=None if stored is None else stored.position))


def _place_of(said: Any) -> tuple[EventId, str]:
    """Return the event and the thread of a receipt, as another server says it."""
    event_ids = said.get("event_ids") if isinstance(said, dict) else None
    if not isinstance(event_ids, list) or not event_ids or not isinstance(event_ids[-1], str):
        raise BadJson("a receipt is at an event")
    data = said.get("data")
    thread_id = data.get("thread_id", UNTHREADED) if isinstance(data, dict) else UNTHREADED
    if thread_id not in (UNTHREADED, MAIN):
        thread_id = parse_event_id(thread_id) if isinstance(thread_id, str) else None
        if thread_id is None:
            raise BadJson("a thread is named by its root")
    return parse_event_id(event_ids[-1]), thread_id
