"""When and from where devices were last seen: noted in memory, written in batches."""

from __future__ import annotations

import structlog
import trio

from tricord.homeserver.clock import Clock
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.devices import Sighting, record_sightings
from tricord.homeserver.storage.errors import DatabaseError
from tricord.protocol.identifiers import DeviceId, UserId

_AT_MOST_EVERY_MS = 60_000
_WRITE_EVERY_SECONDS = 15
_REMEMBERED = 50_000

_logger = structlog.get_logger(__name__)


class Sightings:
    """Notes each device at most once a minute, however much it asks."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._noted_ts: dict[tuple[UserId, DeviceId], int] = {}
        self._unwritten: dict[tuple[UserId, DeviceId], Sighting] = {}

    def note(self, user_id: UserId, device_id: DeviceId, *, address: str, user_agent: str) -> None:
        """Note that a device made a request."""
        key, now = (user_id, device_id), self._clock.now_ms()
        if now - self._noted_ts.get(key, 0) < _AT_MOST_EVERY_MS:
            return
        if len(self._noted_ts) >= _REMEMBERED:
            self._noted_ts.clear()
        self._noted_ts.pop(key, None)  # so that the oldest is the first
        self._noted_ts[key] = now
        self._unwritten[key] = Sighting(
            user_id, device_id, now, address[:64].replace("\0", ""), user_agent[:255].replace("\0", "")
        )

    def let_go(self) -> None:
        """Forget which devices need no note any more not to be written down again; called every minute."""
        before = self._clock.now_ms() - _AT_MOST_EVERY_MS
        for key, noted_ts in list(self._noted_ts.items()):
            if noted_ts > before:
                break
            del self._noted_ts[key]

    async def run(self) -> None:
        """Write what has been noted, now and then, and once more at the end."""
        try:
            while True:
                await trio.sleep(_WRITE_EVERY_SECONDS)
                await self._try_to_write()
        finally:
            with trio.move_on_after(2, shield=True):
                await self._try_to_write()

    async def write(self) -> None:
        """Write what has been noted."""
        if self._unwritten:
            unwritten, self._unwritten = self._unwritten, {}
            try:
                await self._database.run(record_sightings, list(unwritten.values()))
            except BaseException:  # cancelled, too: it is tried once more at the end
                self._unwritten = unwritten | self._unwritten
                raise

    async def _try_to_write(self) -> None:
        try:
            await self.write()
        except DatabaseError as error:
            _logger.warning("when devices were seen is written later", reason=str(error))
