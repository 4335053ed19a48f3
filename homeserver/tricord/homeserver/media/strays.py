"""What the store has and the database does not know.

It comes about where the database forgets: PostgreSQL fails before the claim of some bytes is on its disk, or is
restored from a backup; and where a server ends, or its database cannot be reached, after it has put an upload into the
store and before it has named it. One process goes through the store once a day, page by page, and notes in the database
how far it has come. It deletes nothing: what no row knows gets one that nothing names, and `sweep.py` deletes it as all
that nothing names, some days later, unless somebody has brought it again meanwhile.

So an upload under way is safe whatever the clocks say: its row is there before its bytes are, or it is looked whether
they are still there once they have a row (`repository.py`).
"""

from __future__ import annotations

import contextlib

import structlog
import trio

from tricord.homeserver.clock import Clock
from tricord.homeserver.media.blobs import BlobStore, StoreUnavailable
from tricord.homeserver.media.settings import MediaStoreSettings
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.errors import DatabaseError
from tricord.homeserver.storage.media_turns import note_turn, take_turn
from tricord.homeserver.storage.media_upkeep import adopt_blobs

_log = structlog.get_logger(__name__)

_LOOK_EVERY_SECONDS = 600
_DAY_MS = 86_400_000
# How much longer than it works it rests, so that those who send files notice nothing.
_REST = 4
_LONGEST_REST_SECONDS = 60
# Whoever has not noted a page for so long is taken for dead, and another process goes on.
_TURN_MS = 900_000


class Strays:
    """Finds bytes without a row."""

    def __init__(self, database: Database, store: BlobStore, clock: Clock, settings: MediaStoreSettings) -> None:
        self._database = database
        self._store = store
        self._clock = clock
        self._keep_ms = settings.unknown_keep_days * _DAY_MS

    async def run(self) -> None:
        """Look once a day, for ever."""
        while self._keep_ms:
            try:
                await self.look()
            except (DatabaseError, StoreUnavailable) as error:
                _log.warning("the store is not looked through", reason=str(error))
            await trio.sleep(_LOOK_EVERY_SECONDS)

    async def look(self) -> int:
        """Go through the store, if it is time and nobody else does; return how much was found that no row knew."""
        now = self._clock.now_ms()
        place = await self._database.run_one(take_turn, "store", now, now + _TURN_MS)
        if place is None:
            return 0
        found = 0
        async with contextlib.aclosing(self._store.digests(place)) as pages:  # type: ignore[type-var]  # generators
            started = trio.current_time()
            async for digests in pages:
                now = self._clock.now_ms()
                found += await self._database.run_one(adopt_blobs, digests, now + self._keep_ms)
                place = max(digests, default=place)
                await self._database.run_one(note_turn, "store", place, now + _TURN_MS)
                await trio.sleep(min((trio.current_time() - started) * _REST, _LONGEST_REST_SECONDS))
                started = trio.current_time()
        await self._database.run_one(note_turn, "store", b"", self._clock.now_ms() + _DAY_MS)
        if found:
            days = self._keep_ms // _DAY_MS
            _log.warning("the store has files that the database does not know", files=found, deleted_in_days=days)
        return found
