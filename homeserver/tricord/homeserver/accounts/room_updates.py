"""Telling a user's rooms what has changed: a new name or avatar, or that the user is gone.

It may take a thousand events, so no request waits for it. What is to be told is a row; so it survives a restart, and
what is asked for twice is done once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import structlog
import trio

from tricord.homeserver.clock import Clock
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.errors import DatabaseError, DatabaseUnavailable
from tricord.homeserver.storage.room_updates import Act, RoomUpdate, finish_room_update, lease_room_updates
from tricord.protocol.errors import MatrixError
from tricord.protocol.identifiers import RoomId, UserId

_LEASE_MS = 10 * 60_000
_USERS_AT_A_TIME = 4
# For what another process leased and then did not finish.
_LOOK_EVERY_SECONDS = 60

_logger = structlog.get_logger(__name__)


class MemberRooms(Protocol):
    """What telling needs from the rooms."""

    async def to_tell(self, user_id: UserId, act: Act) -> Sequence[RoomId]:
        """Return the rooms to tell: for a profile those the user is in, to leave also invitations and knocks."""
        ...

    async def tell(self, user_id: UserId, act: Act, room_id: RoomId) -> None:
        """Do it in one room."""
        ...


class RoomUpdates:
    """Works through what the rooms of users must still be told."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._asked = trio.Event()

    def wake(self) -> None:
        """Say that there is something to tell."""
        self._asked.set()

    async def run(self, rooms: MemberRooms) -> None:
        """Tell rooms for ever."""
        while True:
            self._asked = trio.Event()
            try:
                await self.tell_all(rooms)
            except DatabaseError as error:
                _logger.warning("telling rooms is interrupted", reason=str(error))
            with trio.move_on_after(_LOOK_EVERY_SECONDS):
                await self._asked.wait()

    async def tell_all(self, rooms: MemberRooms) -> None:
        """Tell what there is to tell now."""
        while updates := await self._lease():
            async with trio.open_nursery() as nursery:
                for update in updates:
                    nursery.start_soon(self._tell, rooms, update)

    async def _lease(self) -> list[RoomUpdate]:
        now = self._clock.now_ms()
        return await self._database.run(
            lease_room_updates, now_ts=now, until_ts=now + _LEASE_MS, limit=_USERS_AT_A_TIME
        )

    async def _tell(self, rooms: MemberRooms, update: RoomUpdate) -> None:
        """Tell one user's rooms; what is interrupted is done again when the lease has ended."""
        try:
            for room_id in await rooms.to_tell(update.user_id, update.act):
                await self._tell_one(rooms, update, room_id)
            await self._database.run(finish_room_update, update)
        except DatabaseError as error:
            _logger.warning("telling rooms is interrupted", user_id=update.user_id, reason=str(error))
        except Exception:
            _logger.exception("telling rooms failed", user_id=update.user_id, act=update.act)

    async def _tell_one(self, rooms: MemberRooms, update: RoomUpdate, room_id: RoomId) -> None:
        try:
            await rooms.tell(update.user_id, update.act, room_id)
        except MatrixError as error:
            _logger.info("a room cannot be told", **_about(update, room_id), reason=error.message)
        except DatabaseUnavailable:
            raise  # the others could not be told either
        except Exception:
            # One room must not keep the others from hearing of it.
            _logger.exception("telling a room failed", **_about(update, room_id))


def _about(update: RoomUpdate, room_id: RoomId) -> Mapping[str, Any]:
    return {"user_id": update.user_id, "act": update.act, "room_id": room_id}
