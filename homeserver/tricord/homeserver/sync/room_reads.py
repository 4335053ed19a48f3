"""Reading of rooms together, or else one by one: a room that cannot be read harms only itself.

Rooms are read together, since that takes as many queries for many as for one. Where that fails, for a row that cannot
be decoded or a mistake of ours, each is read by itself, and whichever fails is left out of the answer. A database that
is away fails the whole instead: who asks again from the same position then loses nothing.

What is left out is still owed. A client of `/sync` or of the WebSocket holds the debt in its token, as marks of rooms
with the position after which they are to be told; sliding sync holds it in what a connection was told. Nothing is
written for it, since that might fail, too; and who has been told of all rooms pays nothing.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import structlog
import trio

from tricord.homeserver.storage.errors import DatabaseUnavailable
from tricord.homeserver.stream.tokens import MOST_LEFT_OUT
from tricord.protocol.identifiers import RoomId, UserId

_Room = TypeVar("_Room")
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")

# Everybody in a bad room fails to read it with every sync.
_REPORTED_EVERY_SECONDS = 3600
_MOST_REPORTED = 1_000

_logger = structlog.get_logger(__name__)


def mark_of(room_id: RoomId) -> str:
    """Return what stands for a room in a token: short, whatever its id is."""
    return hashlib.blake2b(room_id.encode(), digest_size=8).hexdigest()


def marks_of(left_out: Mapping[RoomId, int]) -> dict[str, int]:
    """Return rooms that were left out as tokens name them."""
    return {mark_of(room_id): after for room_id, after in left_out.items()}


class UnreadableRooms:
    """Says in the log which rooms could not be read: each once, as long as that is not long ago."""

    def __init__(self) -> None:
        self._reported: OrderedDict[RoomId, float] = OrderedDict()

    def reads_for(self, user_id: UserId) -> RoomReads:
        """Return the reads of one answer."""
        return RoomReads(self, user_id)

    def report(self, room_id: RoomId, user_id: UserId, failure: Exception) -> None:
        """Note that a room could not be read."""
        now = trio.current_time()
        if self._reported.get(room_id, -_REPORTED_EVERY_SECONDS) + _REPORTED_EVERY_SECONDS > now:
            return
        self._reported[room_id] = now
        self._reported.move_to_end(room_id)
        if len(self._reported) > _MOST_REPORTED:
            self._reported.popitem(last=False)
        _logger.error("a room is left out of a sync", room_id=room_id, user_id=user_id, exc_info=failure)


class RoomReads:
    """The reads of one answer, and the rooms that are left out of it."""

    def __init__(self, unreadable: UnreadableRooms, user_id: UserId) -> None:
        self._unreadable = unreadable
        self._user_id = user_id
        self.left_out: set[RoomId] = set()

    def readable(self, rooms: Mapping[RoomId, _Room]) -> Mapping[RoomId, _Room]:
        """Return those of some rooms that are not left out."""
        if not self.left_out:
            return rooms
        return {room_id: room for room_id, room in rooms.items() if room_id not in self.left_out}

    async def read(
        self,
        rooms: Mapping[RoomId, _Room],
        read: Callable[[Mapping[RoomId, _Room]], Awaitable[Mapping[_Key, _Value]]],
    ) -> Mapping[_Key, _Value]:
        """Return what is read of all rooms together; if that fails, of one after the other, without those that fail.

        Raises DatabaseUnavailable; and whatever is raised when more rooms fail than can be owed.
        """
        rooms = self.readable(rooms)
        if not rooms:
            return {}
        try:
            return await read(rooms)
        except DatabaseUnavailable:
            raise
        except Exception as failure:  # noqa: BLE001 - reported below
            failed = failure
        found: dict[_Key, _Value] = {}
        left_out = len(self.left_out)
        for room_id, room in rooms.items():
            with self.alone(room_id):
                found.update(await read({room_id: room}))
        if len(self.left_out) == left_out:
            _logger.warning("rooms could be read one by one only", user_id=self._user_id, exc_info=failed)
        return found

    @contextmanager
    def alone(self, room_id: RoomId) -> Iterator[None]:
        """Leave a room out if what is done inside fails: it concerns no other."""
        try:
            yield
        except DatabaseUnavailable:
            raise
        except Exception as failure:
            self._unreadable.report(room_id, self._user_id, failure)
            if len(self.left_out) >= MOST_LEFT_OUT and room_id not in self.left_out:
                # It is not the rooms, then; and who is told nothing has to be told that.
                raise
            self.left_out.add(room_id)
