"""Deleting bytes from the store, each by one process at a time.

What is doomed cannot be claimed until its row is gone, so that no deletion hits bytes that somebody has brought again.
That holds only if nobody goes on deleting after that: so whoever deletes says so first, has a while for it, and takes
no more together than can be done in much less.
"""

from __future__ import annotations

from collections.abc import Sequence

import trio

from tricord.homeserver.clock import Clock
from tricord.homeserver.media.blobs import BlobStore
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.media import begin_deletion, delete_doomed_blobs, doom_unnamed_blobs

_AT_ONCE = 200
# Who has begun and not finished after so long has been killed, or cannot reach the store.
_BEGUN_MS = 600_000
# So long deletions are begun; one that is under way then takes as long as a request to the store may.
_SECONDS = 300


class Deletion:
    """Deletes bytes that nothing names."""

    def __init__(self, database: Database, store: BlobStore, clock: Clock) -> None:
        self._database = database
        self._store = store
        self._clock = clock

    async def delete_unnamed(self, *, claimed_before: int) -> int:
        """Delete bytes that nothing names and nobody has claimed since; return how many there were.

        So it does with those that were doomed before and not deleted. Raises StoreUnavailable.
        """
        total = 0
        while digests := await self._database.run(
            doom_unnamed_blobs, _AT_ONCE, claimed_before=claimed_before, begun_before=self._clock.now_ms() - _BEGUN_MS
        ):
            total += await self.delete_doomed(digests)
        return total

    async def delete_doomed(self, digests: Sequence[bytes]) -> int:
        """Delete bytes that are doomed, and return how many. Raises StoreUnavailable; then a later sweep does it."""
        total = 0
        for start in range(0, len(digests), _AT_ONCE):
            now = self._clock.now_ms()
            some = digests[start : start + _AT_ONCE]
            begun = await self._database.run_one(begin_deletion, some, now, begun_before=now - _BEGUN_MS)
            deleted = []
            with trio.move_on_after(_SECONDS):
                for digest in begun:
                    await self._store.delete(digest)
                    deleted.append(digest)
            await self._database.run(delete_doomed_blobs, deleted)
            total += len(deleted)
        return total
