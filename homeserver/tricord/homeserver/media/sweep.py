"""What goes away by itself: bytes that nothing names, and uploads that were announced and never made."""

from __future__ import annotations

import structlog
import trio

from tricord.homeserver.clock import Clock
from tricord.homeserver.media.blobs import BlobStore, StoreUnavailable
from tricord.homeserver.media.spool import Spool
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.errors import DatabaseUnavailable
from tricord.homeserver.storage.media import delete_doomed_blobs, delete_expired_announcements, doom_unnamed_blobs

_log = structlog.get_logger(__name__)

_EVERY_SECONDS = 600
# Who has claimed bytes names them before so long, however slow the store is.
_CLAIM_MS = 6 * 3_600_000
_AT_ONCE = 200


class Sweep:
    """Deletes what nobody needs."""

    def __init__(self, database: Database, store: BlobStore, spool: Spool, clock: Clock) -> None:
        self._database = database
        self._store = store
        self._spool = spool
        self._clock = clock

    async def run(self) -> None:
        """Sweep now and then, for ever."""
        while True:
            try:
                await self.sweep()
            except (DatabaseUnavailable, StoreUnavailable, OSError) as error:
                _log.warning("media is not swept", reason=str(error))
            await trio.sleep(_EVERY_SECONDS)

    async def sweep(self) -> None:
        """Delete all that is due."""
        now = self._clock.now_ms()
        await self._spool.sweep()
        await self._database.run(delete_expired_announcements, now)
        await self.delete_unnamed(claimed_before=now - _CLAIM_MS)

    async def delete_unnamed(self, *, claimed_before: int) -> int:
        """Delete bytes that nothing names and nobody has claimed since; return how many there were."""
        total = 0
        while digests := await self._database.run(doom_unnamed_blobs, claimed_before, _AT_ONCE):
            for digest in digests:
                await self._store.delete(digest)
            await self._database.run(delete_doomed_blobs, digests)
            total += len(digests)
        return total
