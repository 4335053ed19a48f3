"""Whether other servers have what has happened in a room here."""

from __future__ import annotations

import trio

from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.outgoing import is_on_its_way
from tricord.protocol.identifiers import RoomId, ServerName

# A server that is there takes what it is sent within this time; to one that is not, nothing can come too early.
_PATIENCE_SECONDS = 10.0
_FIRST_PAUSE_SECONDS = 0.005
_LONGEST_PAUSE_SECONDS = 0.25


class Deliveries:
    """Waits for what is on its way to other servers, whichever process sends it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def wait_for(self, server: ServerName, room_id: RoomId) -> None:
        """Return when a server has all that happened in a room here; also if it does not answer, or after a while.

        Who asks it for something in that room would overtake their own events: who leaves and comes again at once would
        be let in first, and out of the room for good by the leave that follows.
        """
        pause = _FIRST_PAUSE_SECONDS
        with trio.move_on_after(_PATIENCE_SECONDS):
            while await self._database.read(is_on_its_way, server, room_id):
                await trio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
