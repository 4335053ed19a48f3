"""Finding media, wherever it is from: our own here, that of other servers there."""

from __future__ import annotations

from typing import Protocol

from tricord.homeserver.media.incoming import Incoming
from tricord.homeserver.media.repository import Repository
from tricord.homeserver.media.thumbnails import Thumbnail, Thumbnails, Wanted
from tricord.homeserver.storage.media import StoredMedia
from tricord.protocol.errors import NotFound
from tricord.protocol.identifiers import ServerName
from tricord.protocol.media import Mxc


class Elsewhere(Protocol):
    """Gets the media of other servers."""

    async def fetch(self, mxc: Mxc, patience_seconds: float) -> StoredMedia:
        """Return media of another server after its bytes have come."""
        ...

    async def follow(self, mxc: Mxc, patience_seconds: float) -> StoredMedia | Incoming:
        """Return media of another server, or, where that takes its time, the transfer of it."""
        ...

    async def fetch_thumbnail(self, mxc: Mxc, wanted: Wanted, patience_seconds: float) -> Thumbnail | None:
        """Return the small image that another server makes of its media; None if it makes none that we know."""
        ...


class Library:
    """All media that this server can give."""

    def __init__(
        self, server_name: ServerName, repository: Repository, elsewhere: Elsewhere, thumbnails: Thumbnails
    ) -> None:
        self._server_name = server_name
        self._repository = repository
        self._elsewhere = elsewhere
        self._thumbnails = thumbnails

    async def find(self, mxc: Mxc, patience_seconds: float) -> StoredMedia:
        """Return media whose bytes are here, fetching them if they are not. Raises NotFound and its like."""
        if mxc.server_name == self._server_name:
            return await self._repository.find(mxc, patience_seconds)
        media = await self._repository.known(mxc)
        if media is not None:
            self._repository.note_use(mxc)
            return media
        return await self._elsewhere.fetch(mxc, patience_seconds)

    async def find_or_follow(self, mxc: Mxc, patience_seconds: float) -> StoredMedia | Incoming:
        """Return media as `find` does, or, if it has to come from elsewhere and takes its time, its transfer."""
        if mxc.server_name == self._server_name or await self._repository.known(mxc) is not None:
            return await self.find(mxc, patience_seconds)
        return await self._elsewhere.follow(mxc, patience_seconds)

    async def thumbnail(self, mxc: Mxc, wanted: Wanted, patience_seconds: float) -> Thumbnail:
        """Return a small image of media. Of what is elsewhere, the server that it is from is asked for one first."""
        if mxc.server_name != self._server_name and await self._repository.known(mxc) is None:
            thumbnail = await self._elsewhere.fetch_thumbnail(mxc, wanted, patience_seconds)
            if thumbnail is not None:
                return thumbnail
        return await self._thumbnails.of(await self.find(mxc, patience_seconds), wanted)

    async def thumbnail_without_token(
        self, mxc: Mxc, wanted: Wanted, patience_seconds: float, *, allow_remote: bool
    ) -> Thumbnail:
        """Return a small image for the endpoint that asks for no token; raise as `find_without_token`."""
        media = await self.find_without_token(mxc, patience_seconds, allow_remote=allow_remote)
        return await self._thumbnails.of(media, wanted)

    async def find_without_token(self, mxc: Mxc, patience_seconds: float, *, allow_remote: bool) -> StoredMedia:
        """Return media for the endpoints that ask for no token. Raises NotFound for what came after their freeze.

        What would have to be fetched came after it, too, unless there is no freeze.
        https://spec.matrix.org/v1.19/client-server-api/#content-repo-client-behaviour
        """
        if self._repository.is_frozen or not allow_remote:
            media = await self._repository.known(mxc)
            if media is None or media.digest is None:
                raise NotFound(f"there is no {mxc} for who shows no access token")
            self._repository.note_use(mxc)
        else:
            media = await self.find(mxc, patience_seconds)
        if media.needs_token:
            raise NotFound(f"there is no {mxc} for who shows no access token")
        return media
