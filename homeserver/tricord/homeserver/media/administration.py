"""What an operator does about media: look how much there is, keep some from being seen, and delete it."""

from __future__ import annotations

from collections.abc import Sequence

from tricord.homeserver.clock import Clock
from tricord.homeserver.media.blobs import BlobStore
from tricord.homeserver.media.deletion import Deletion
from tricord.homeserver.media.thumbnails import digest_of_name
from tricord.homeserver.storage.database import Database, Transaction
from tricord.homeserver.storage.media_upkeep import (
    Usage,
    erase_media,
    forget_old_media,
    media_of_uploader,
    quarantine_media,
    release_media,
    usage,
)
from tricord.protocol.identifiers import ServerName, parse_user_id
from tricord.protocol.media import Mxc, parse_mxc


class MediaAdministration:
    """Acts on media, whether a server runs or not."""

    def __init__(self, server_name: ServerName, database: Database, store: BlobStore, clock: Clock) -> None:
        self._server_name = server_name
        self._database = database
        self._deletion = Deletion(database, store, clock)
        self._clock = clock

    async def usage(self) -> Usage:
        """Return how much media there is."""
        return await self._database.read(usage, self._server_name)

    async def named(self, what: Sequence[str]) -> list[Mxc]:
        """Return the media that some `mxc://` URIs name, and all that some users have uploaded. Raises InvalidParam."""
        found = []
        for each in what:
            if each.startswith("@"):
                found += await self._database.read(media_of_uploader, parse_user_id(each))
            else:
                found.append(parse_mxc(each))
        return found

    async def quarantine(self, names: Sequence[Mxc], *, by: str) -> None:
        """Let nobody see media, nor the same bytes under another name; bytes of other servers are not fetched."""
        await self._database.run(quarantine_media, names, by, self._clock.now_ms())

    async def release(self, names: Sequence[Mxc]) -> None:
        """Take back a quarantine."""
        await self._database.run(release_media, names)

    async def erase(self, names: Sequence[Mxc]) -> int:
        """Delete media, its small images, and their bytes from the store; return how much there was.

        Raises StoreUnavailable, in which case the next sweep goes on with it.
        """
        erased, digests = await self._database.run(erase_media, names, [digest_of_name(str(mxc)) for mxc in names])
        await self.delete_bytes(digests)
        return erased

    async def erase_within(self, tx: Transaction, names: Sequence[Mxc]) -> Sequence[bytes]:
        """Delete media in somebody's transaction; return the bytes to delete once that is committed."""
        return (await erase_media(tx, names, [digest_of_name(str(mxc)) for mxc in names]))[1]

    async def delete_bytes(self, digests: Sequence[bytes]) -> None:
        """Delete bytes from the store that nothing names any more. Raises StoreUnavailable, as `erase` does."""
        await self._deletion.delete_doomed(digests)

    async def forget_remote(self, *, unused_days: float) -> None:
        """Forget what was fetched from other servers and has not been asked for so long; it can be fetched again."""
        before = self._clock.now_ms() - int(unused_days * 86_400_000)
        await self._database.run(forget_old_media, self._server_name, None, before)
