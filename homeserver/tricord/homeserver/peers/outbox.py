"""What waits for one server, and the transactions it is sent in.

Nothing is lost with an outbox: events and receipts come from the database, and are kept here only while a server keeps
up, so that a thousand servers in one room do not read the same event a thousand times. One that falls behind reads for
itself. What passes (typing, presence) is kept here only, the newest of each.

https://spec.matrix.org/v1.19/server-server-api/#transactions
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import trio

from tricord.homeserver.peers.outgoing_edus import durable_edu, presence_edu, receipt_edus
from tricord.homeserver.peers.parcel import Parcel
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.destinations import Progress, progress_of
from tricord.homeserver.storage.outgoing import (
    OutgoingEvent,
    newest_outgoing_for,
    outgoing_edus_for,
    outgoing_for,
    outgoing_receipts_for,
)
from tricord.homeserver.storage.presence import Presence
from tricord.homeserver.storage.receipts import Receipt
from tricord.protocol.identifiers import ServerName, UserId
from tricord.protocol.strict_json import JsonObject

MOST_EVENTS = 50
MOST_EDUS = 100
# Fifty events of the largest kind would be more than many reverse proxies let through.
_MOST_EVENT_BYTES = 1 << 20
_MOST_KEPT_EVENTS = 100
_MOST_RECEIPTS = 500
_MOST_KEPT_PASSING = 200
_MOST_KEPT_PRESENCES = 500
_MOST_RECEIPT_EDUS = 40
_MOST_DURABLE_EDUS = 40


@dataclass(frozen=True, slots=True)
class Departure:
    """What is sent at once, and how far the server has got when it has it."""

    parcel: Parcel
    durable: Sequence[int]
    """The numbers of those of its EDUs that are in the database."""
    progress: Progress


@dataclass(slots=True, eq=False)
class Outbox:
    """What waits for one server."""

    server: ServerName
    own_name: ServerName
    tells_device_names: bool = False
    scope: trio.CancelScope | None = None
    """Of the task that empties it; None while nobody does."""
    progress: Progress | None = None
    has_passed_by: bool = False
    """Whether the server got further without being sent anything, which nobody has noted yet."""
    _reads_events: bool = True
    _reads_receipts: bool = True
    _reads_durable: bool = True
    _receipts_read_upto: int = 0
    """What is being read, or has been, need not be added."""
    _events: deque[OutgoingEvent] = field(default_factory=deque)
    _receipts: dict[tuple[str, str, str, str], Receipt] = field(default_factory=dict)
    _passing: dict[tuple[str, ...], JsonObject] = field(default_factory=dict)
    _presences: dict[UserId, Presence] = field(default_factory=dict)

    @property
    def must_read(self) -> bool:
        """Whether more may wait than is known here."""
        return self.progress is None or self._reads_events or self._reads_receipts or self._reads_durable

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not (self.must_read or self._events or self._receipts or self._passing or self._presences)

    def add_event(self, event: OutgoingEvent) -> None:
        """Let an event wait, which comes after all that have been added."""
        if self._reads_events:
            return
        self._events.append(event)
        if len(self._events) > _MOST_KEPT_EVENTS:
            self._events.clear()
            self._reads_events = True

    def add_receipt(self, receipt: Receipt) -> None:
        """Let a receipt wait, in place of the user's older one."""
        if self._reads_receipts or receipt.position <= self._receipts_read_upto:
            return
        self._receipts.pop(receipt.key, None)
        self._receipts[receipt.key] = receipt
        if len(self._receipts) > _MOST_RECEIPTS:
            self._receipts.clear()
            self._reads_receipts = True

    def add_passing(self, key: tuple[str, ...], edu: JsonObject) -> None:
        """Let an EDU wait that need not last, in place of an older one with the same key."""
        self._passing.pop(key, None)
        self._passing[key] = edu
        if len(self._passing) > _MOST_KEPT_PASSING:
            del self._passing[next(iter(self._passing))]

    def add_presence(self, presence: Presence) -> None:
        """Let a user's presence wait, in place of what it was before."""
        self._presences.pop(presence.user_id, None)
        self._presences[presence.user_id] = presence
        if len(self._presences) > _MOST_KEPT_PRESENCES:
            del self._presences[next(iter(self._presences))]

    def read_durable_edus(self) -> None:
        """Look for EDUs in the database."""
        self._reads_durable = True

    def read_everything(self) -> None:
        """Look for everything in the database: some of it may not have been added."""
        self._events.clear()
        self._receipts.clear()
        self._reads_events = self._reads_receipts = self._reads_durable = True

    def forget_passing(self) -> None:
        """Forget what nobody wants to know later."""
        self._passing.clear()
        self._presences.clear()

    async def next_departure(self, database: Database, upto: Callable[[], int], now_ms: int) -> Departure | None:
        """Take what is to be sent next; None if nothing is.

        `upto` tells the position up to which everything has been added by now that an outbox takes.
        """
        if self.progress is None:
            self.progress = await database.read(progress_of, self.server) or Progress(self.server, upto(), upto())
        progress = self.progress
        events, event_position = await self._next_events(database, progress, upto)
        receipts, receipt_position = await self._next_receipts(database, progress, upto)
        durable = await self._next_durable(database)
        edus = list(receipt_edus(receipts))
        if len(edus) > _MOST_RECEIPT_EDUS:
            # A user with receipts in so many threads at once: the newest of them do.
            del edus[:-_MOST_RECEIPT_EDUS]
        edus += [durable_edu(edu, tells_device_names=self.tells_device_names) for _, edu in durable]
        if self._presences:
            edus.append(presence_edu(self._presences.values(), now_ms))
            self._presences = {}
        while self._passing and len(edus) < MOST_EDUS:
            edus.append(self._passing.pop(next(iter(self._passing))))
        reached = replace(progress, event_position=event_position, receipt_position=receipt_position)
        if not events and not edus:
            self.has_passed_by = self.has_passed_by or reached != progress
            self.progress = reached
            return None
        numbers = [number for number, _ in durable]
        return Departure(Parcel(events, edus), numbers, reached)

    async def _next_events(
        self, database: Database, progress: Progress, added: Callable[[], int]
    ) -> tuple[Sequence[OutgoingEvent], int]:
        after = progress.event_position
        if not self._reads_events:
            events = _of_bearable_size([self._events[number] for number in range(min(len(self._events), MOST_EVENTS))])
            for _ in events:
                self._events.popleft()
            return events, events[-1].position if events else after
        # From now on what comes is added, and all of it comes after what is read.
        self._events.clear()
        self._reads_events, upto = False, added()
        try:
            read = outgoing_for
            if after < progress.newest_only_upto:
                read, upto = newest_outgoing_for, min(upto, progress.newest_only_upto)
            found = await database.read(read, self.server, after, upto, MOST_EVENTS)
        except BaseException:
            self.read_everything()
            raise
        events = _of_bearable_size(found)
        if len(found) == MOST_EVENTS or len(events) < len(found) or read is newest_outgoing_for:
            self._events.clear()
            self._reads_events = True
        if len(found) < MOST_EVENTS and len(events) == len(found):
            return events, max(after, upto)
        return events, events[-1].position

    async def _next_receipts(
        self, database: Database, progress: Progress, added: Callable[[], int]
    ) -> tuple[Sequence[Receipt], int]:
        after = progress.receipt_position
        if not self._reads_receipts:
            receipts, self._receipts = list(self._receipts.values()), {}
            return receipts, max((receipt.position for receipt in receipts), default=after)
        self._receipts.clear()
        self._reads_receipts, upto = False, added()
        self._receipts_read_upto = upto
        try:
            receipts = await database.read(
                outgoing_receipts_for, self.server, self.own_name, after, upto, _MOST_RECEIPTS
            )
        except BaseException:
            self.read_everything()
            raise
        if len(receipts) < _MOST_RECEIPTS:
            return receipts, max(after, upto)
        self._receipts.clear()
        self._reads_receipts = True
        return receipts, receipts[-1].position

    async def _next_durable(self, database: Database) -> list[tuple[int, bytes]]:
        if not self._reads_durable:
            return []
        self._reads_durable = False
        try:
            found = await database.read(outgoing_edus_for, self.server, _MOST_DURABLE_EDUS)
        except BaseException:
            self.read_everything()
            raise
        if found:
            self._reads_durable = True
        return found


def _of_bearable_size(events: Sequence[OutgoingEvent]) -> Sequence[OutgoingEvent]:
    size = 0
    for count, event in enumerate(events):
        size += len(event.json)
        if count and size > _MOST_EVENT_BYTES:
            return events[:count]
    return events
