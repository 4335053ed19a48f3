"""Receipts: users say up to where they have read.

Only members of a room may, and only a newer receipt replaces an older one. `m.read.private` is never shown to others;
whoever shows receipts asks `shown_to`.
https://spec.matrix.org/v1.19/client-server-api/#receipts
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import replace

from tricord.homeserver.storage.database import Database, Transaction
from tricord.homeserver.storage.grouped_writes import GroupedWrites
from tricord.homeserver.storage.receipts import Receipt, move_receipts, place_receipts
from tricord.homeserver.storage.stream import take_positions
from tricord.homeserver.stream.publisher import Commit, Publisher
from tricord.protocol.identifiers import RoomId, UserId

READ = "m.read"
READ_PRIVATE = "m.read.private"
FULLY_READ = "m.fully_read"


def shown_to(viewer: UserId, receipts: Iterable[Receipt], ignored: Container[UserId]) -> list[Receipt]:
    """Leave out the private receipts of others, and all of those whom the viewer ignores."""
    return [
        receipt
        for receipt in receipts
        if receipt.user_id == viewer or (receipt.receipt_type != READ_PRIVATE and receipt.user_id not in ignored)
    ]


class Receipts:
    """The only writer of receipts, of local and remote users alike."""

    def __init__(self, database: Database, publisher: Publisher) -> None:
        self._database = database
        self._publisher = publisher
        self._writes: GroupedWrites[Receipt, bool] = GroupedWrites(self._write)

    async def move(self, receipt: Receipt) -> bool:
        """Put a receipt at an event; return whether that was news. The caller has checked membership and event."""
        return await self._writes.submit(receipt)

    async def _write(self, receipts: Sequence[Receipt]) -> list[bool]:
        newest = _newest_of_each(receipts)
        moved = await self._database.run(_move_and_place, newest)
        if moved:
            position, rooms = moved[0].position, frozenset(receipt.room_id for receipt in moved)
            self._publisher.publish(Commit(position, rooms, frozenset()))
        news = {(receipt.key, receipt.event_id) for receipt in moved}
        return [(receipt.key, receipt.event_id) in news for receipt in receipts]


def _newest_of_each(receipts: Sequence[Receipt]) -> list[Receipt]:
    newest: dict[tuple[RoomId, UserId, str, str], Receipt] = {}
    for receipt in receipts:
        other = newest.get(receipt.key)
        if other is None or (other.event_position or 0) <= (receipt.event_position or 0):
            newest[receipt.key] = receipt
    return list(newest.values())


async def _move_and_place(tx: Transaction, receipts: Sequence[Receipt]) -> list[Receipt]:
    moved = await move_receipts(tx, receipts)
    if not moved:
        return []
    position = await take_positions(tx, 1)
    await place_receipts(tx, moved, position)
    return [replace(receipt, position=position) for receipt in moved]
