"""Turning guests out of rooms that no longer admit them.

"If the `m.room.guest_access` event is changed to stop this from being the case, the server MUST set those users'
`m.room.member` state to `leave`": https://spec.matrix.org/v1.19/client-server-api/#guest-access
"""

from __future__ import annotations

from collections.abc import Collection

import structlog
import trio

from tricord.homeserver.rooms.append import Draft, Log
from tricord.homeserver.rooms.state import RoomState
from tricord.homeserver.rooms.stored_event import StateKey
from tricord.homeserver.storage.accounts import guests_in_rooms, rooms_with_guests
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.errors import DatabaseError
from tricord.homeserver.stream.publisher import Commit, Publisher
from tricord.protocol.errors import MatrixError
from tricord.protocol.identifiers import RoomId

_GUEST_ACCESS: StateKey = ("m.room.guest_access", "")
# However much happens in rooms, they are looked at no more often than this.
_PAUSE_SECONDS = 0.5

_logger = structlog.get_logger(__name__)


class GuestAccess:
    """Sees to it that guests are only where they are admitted."""

    def __init__(
        self, database: Database, publisher: Publisher, log: Log, state: RoomState, *, guests_come: bool
    ) -> None:
        self._guests_come = guests_come
        self._database = database
        self._log = log
        self._state = state
        self._changed: set[RoomId] = set()
        self._look = trio.Event()
        publisher.observe(self._note, self._note_gap)
        self._all = True

    async def run(self) -> None:
        """Look after rooms for ever, or not at all where there are no guests and none come."""
        while True:
            self._look = trio.Event()
            rooms, self._changed = self._changed, set()
            everywhere, self._all = self._all, False
            try:
                if everywhere:
                    rooms = set(await self._database.read(rooms_with_guests))
                    if not rooms and not self._guests_come:
                        return
                await self._turn_out(rooms)
            except DatabaseError as error:
                _logger.warning("looking after guests is interrupted", reason=str(error))
                self._all = True
            await self._look.wait()
            await trio.sleep(_PAUSE_SECONDS)

    async def _turn_out(self, rooms: Collection[RoomId]) -> None:
        guests = await self._database.read(guests_in_rooms, rooms) if rooms else []
        if not guests:
            return
        states = await self._state.current_in_rooms({room_id: [_GUEST_ACCESS] for _, room_id in guests})
        for user_id, room_id in guests:
            stored = states[room_id].get(_GUEST_ACCESS)
            if stored is None or stored.event.content.get("guest_access") != "can_join":
                content = {"membership": "leave", "reason": "guests are no longer admitted"}
                try:
                    await self._log.append(Draft(room_id, user_id, "m.room.member", user_id, content))
                except MatrixError as error:
                    _logger.info("a guest stays", room_id=room_id, user_id=user_id, reason=error.message)

    def _note(self, commit: Commit) -> None:
        if commit.has_events:
            self._changed |= commit.rooms
            self._look.set()

    def _note_gap(self, _position: int) -> None:
        self._all = True
        self._look.set()
