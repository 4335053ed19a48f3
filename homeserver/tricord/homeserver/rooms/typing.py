"""Typing notifications: who is typing in a room, for at most half a minute at a time.

https://spec.matrix.org/v1.19/client-server-api/#typing-notifications
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import structlog
import trio

from tricord.homeserver.clock import Clock
from tricord.homeserver.storage.database import Database, Transaction
from tricord.homeserver.storage.errors import DatabaseError
from tricord.homeserver.storage.grouped_writes import GroupedWrites
from tricord.homeserver.storage.stream import take_positions
from tricord.homeserver.storage.typing import change_typing, end_typing_until, next_typing_end, place_typing
from tricord.homeserver.stream.publisher import Commit, Publisher
from tricord.protocol.identifiers import RoomId, UserId

LONGEST_MS = 30_000
# After a failure of the database.
_PAUSE_SECONDS = 1

_logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Change:
    room_id: RoomId
    user_id: UserId
    until_ts: int | None


class Typing:
    """The only writer of who is typing; it also ends what nobody has ended."""

    def __init__(self, database: Database, publisher: Publisher, clock: Clock) -> None:
        self._database = database
        self._publisher = publisher
        self._clock = clock
        self._writes: GroupedWrites[_Change, None] = GroupedWrites(self._write)
        # When the first of those we know of is over, in milliseconds since the epoch.
        self._next_end: int | None = None
        self._next_end_changed = trio.Event()

    async def start(
        self, room_id: RoomId, user_id: UserId, timeout_ms: int = LONGEST_MS, *, longest_ms: int = LONGEST_MS
    ) -> None:
        """Show a member as typing for some time, or for longer than before."""
        until_ts = self._clock.now_ms() + min(max(timeout_ms, 0), longest_ms)
        await self._writes.submit(_Change(room_id, user_id, until_ts))
        if self._is_next(until_ts):
            self._next_end = until_ts
            self._next_end_changed.set()

    async def stop(self, room_id: RoomId, user_id: UserId) -> None:
        """Show a member as typing no longer."""
        await self._writes.submit(_Change(room_id, user_id, None))

    async def run(self) -> None:
        """End what is over, also what was going on before a restart."""
        while True:
            try:
                await self._read_next_end()
                while True:
                    await self._end_next()
            except DatabaseError as error:
                _logger.warning("nobody's typing ends for now", reason=str(error))
                await trio.sleep(_PAUSE_SECONDS)

    async def _end_next(self) -> None:
        """Wait for whatever is over next, and end it; or for something that is over before."""
        self._next_end_changed = trio.Event()
        end = self._next_end
        if end is None:
            await self._next_end_changed.wait()
            return
        with trio.move_on_after(max(0, end - self._clock.now_ms()) / 1000):
            await self._next_end_changed.wait()
            return
        self._next_end = None
        self._publish(*await self._database.run(_end_until, end))
        await self._read_next_end()

    async def _read_next_end(self) -> None:
        next_end = await self._database.read(next_typing_end)
        if next_end is not None and self._is_next(next_end):
            self._next_end = next_end

    def _is_next(self, until_ts: int) -> bool:
        return self._next_end is None or until_ts < self._next_end

    async def _write(self, changes: Sequence[_Change]) -> list[None]:
        last_of_each = {(change.room_id, change.user_id): change for change in changes}
        self._publish(*await self._database.run(_write_changes, list(last_of_each.values())))
        return [None] * len(changes)

    def _publish(self, rooms: Collection[RoomId], position: int) -> None:
        if rooms:
            self._publisher.publish(Commit(position=position, rooms=frozenset(rooms), users=frozenset()))


async def _write_changes(tx: Transaction, changes: Sequence[_Change]) -> tuple[set[RoomId], int]:
    return await _placed(tx, await change_typing(tx, [(c.room_id, c.user_id, c.until_ts) for c in changes]))


async def _end_until(tx: Transaction, now_ms: int) -> tuple[set[RoomId], int]:
    return await _placed(tx, await end_typing_until(tx, now_ms))


async def _placed(tx: Transaction, rooms: set[RoomId]) -> tuple[set[RoomId], int]:
    if not rooms:
        return rooms, 0
    position = await take_positions(tx, 1)
    await place_typing(tx, sorted(rooms), position)
    return rooms, position
