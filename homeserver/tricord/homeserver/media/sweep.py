"""What goes away by itself: the too old, the too much, what was announced and never came, and bytes without a name."""

from __future__ import annotations

import structlog
import trio

from tricord.homeserver.clock import Clock
from tricord.homeserver.media.blobs import BlobStore, StoreUnavailable
from tricord.homeserver.media.deletion import Deletion
from tricord.homeserver.media.repository import CLAIM_MS
from tricord.homeserver.media.settings import MediaSettings, RemoteMediaSettings
from tricord.homeserver.media.spool import Spool
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.errors import DatabaseError
from tricord.homeserver.storage.media import (
    delete_expired_announcements,
    delete_media,
)
from tricord.homeserver.storage.media_thumbnails import delete_thumbnails_from_elsewhere
from tricord.homeserver.storage.media_turns import take_turn
from tricord.homeserver.storage.media_upkeep import forget_excess_media, forget_old_media
from tricord.homeserver.storage.url_previews import delete_old_previews
from tricord.protocol.identifiers import ServerName
from tricord.protocol.media import Mxc

_log = structlog.get_logger(__name__)

_EVERY_MS = 900_000
_LOOK_EVERY_SECONDS = 300
_DAY_MS = 86_400_000
_THUMBNAIL_DAYS = 14
# Clients keep what they have been told for a while, and the image must not be gone then.
_PREVIEW_DAYS = 30


class Sweep:
    """Deletes what nobody needs."""

    def __init__(
        self,
        server_name: ServerName,
        database: Database,
        store: BlobStore,
        spool: Spool,
        clock: Clock,
        local: MediaSettings,
        remote: RemoteMediaSettings,
    ) -> None:
        self._server_name = server_name
        self._local = local
        self._remote = remote
        self._database = database
        self._deletion = Deletion(database, store, clock)
        self._spool = spool
        self._clock = clock

    async def run(self) -> None:
        """Sweep now and then, for ever; of several processes one does."""
        while True:
            try:
                now = self._clock.now_ms()
                if await self._database.run_one(take_turn, "sweep", now, now + _EVERY_MS) is not None:
                    await self.sweep()
            except (DatabaseError, StoreUnavailable, OSError) as error:
                _log.warning("media is not swept", reason=str(error))
            await trio.sleep(_LOOK_EVERY_SECONDS)

    async def sweep(self) -> None:
        """Delete all that is due."""
        now = self._clock.now_ms()
        await self._spool.sweep()
        await self._database.run(delete_expired_announcements, now)
        local, remote = _before(now, self._local.keep_days), _before(now, self._remote.keep_days)
        await self._database.run(forget_old_media, self._server_name, local, remote)
        await self._database.run(forget_excess_media, self._server_name, self._remote.cache_bytes)
        images = await self._database.run(delete_old_previews, now - _PREVIEW_DAYS * _DAY_MS)
        await self._database.run(delete_media, [Mxc(self._server_name, image) for image in images])
        await self._database.run(delete_thumbnails_from_elsewhere, now - _THUMBNAIL_DAYS * _DAY_MS)
        await self._deletion.delete_unnamed(claimed_before=now - CLAIM_MS)


def _before(now: int, days: int) -> int | None:
    return now - days * _DAY_MS if days else None
