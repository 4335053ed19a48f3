"""Telling servers of the devices of users here with whom they newly share a room.

They cannot know of them: what changed before was none of their business.

https://spec.matrix.org/v1.19/server-server-api/#device-management
"""

from __future__ import annotations

import structlog
import trio

from tricord.homeserver.encryption.device_changes import WakeServers
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.device_list_edus import introduce
from tricord.homeserver.storage.errors import DatabaseError
from tricord.homeserver.stream.publisher import Commit, Publisher
from tricord.protocol.identifiers import ServerName

_logger = structlog.get_logger(__name__)


class Introductions:
    """Follows who comes to which room."""

    def __init__(self, database: Database, publisher: Publisher) -> None:
        self._database = database
        self._publisher = publisher
        self._has_work = trio.Event()
        self._has_work.set()
        self._wake_servers: WakeServers | None = None
        publisher.observe(self._note, self._note_gap)

    def on_edus(self, wake_servers: WakeServers) -> None:
        """Call when something has been written for other servers."""
        self._wake_servers = wake_servers

    async def run(self) -> None:
        """Introduce users, for ever."""
        to_wake: set[ServerName] = set()
        while True:
            await self._has_work.wait()
            self._has_work = trio.Event()
            try:
                to_wake.update(await self._database.run(introduce, self._publisher.position))
                if to_wake and self._wake_servers is not None:
                    await self._wake_servers(to_wake)
                to_wake.clear()
            except DatabaseError as error:
                _logger.warning("servers could not be told of devices", reason=str(error))
                await trio.sleep(1)
                self._has_work.set()

    def _note(self, commit: Commit) -> None:
        if commit.has_events and commit.users:
            self._has_work.set()

    def _note_gap(self, _position: int) -> None:
        self._has_work.set()
