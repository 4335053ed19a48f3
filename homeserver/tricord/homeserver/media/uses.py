"""When media was last asked for: noted in memory, written in batches, so that reading it costs no write."""

from __future__ import annotations

import contextlib

import structlog
import trio

from tricord.homeserver.clock import Clock
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.errors import DatabaseError
from tricord.homeserver.storage.media import note_uses
from tricord.protocol.media import Mxc

_log = structlog.get_logger(__name__)

_WRITE_EVERY_SECONDS = 60
_REMEMBERED = 50_000


class Uses:
    """Notes media once between two writes, however often it is asked for."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._unwritten: dict[Mxc, int] = {}

    def note(self, mxc: Mxc) -> None:
        """Note that some media was asked for."""
        if len(self._unwritten) < _REMEMBERED:
            self._unwritten[mxc] = self._clock.now_ms()

    async def run(self) -> None:
        """Write what has been noted, now and then, and once more at the end."""
        try:
            while True:
                await trio.sleep(_WRITE_EVERY_SECONDS)
                try:
                    await self.write()
                except DatabaseError as error:
                    _log.warning("when media was last asked for is not written", reason=str(error))
        finally:
            with trio.move_on_after(2, shield=True), contextlib.suppress(DatabaseError):
                await self.write()

    async def write(self) -> None:
        """Write what has been noted."""
        if self._unwritten:
            unwritten, self._unwritten = self._unwritten, {}
            try:
                await self._database.run(note_uses, unwritten)
            except BaseException:  # cancelled, too: it is tried once more at the end
                self._unwritten = unwritten | self._unwritten
                raise
