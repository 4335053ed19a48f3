"""Finding media, wherever it is from: our own here, that of other servers there."""

from __future__ import annotations

from typing import Protocol

from tricord.homeserver.media.repository import Repository
from tricord.homeserver.storage.media import StoredMedia
from tricord.protocol.errors import NotFound
from tricord.protocol.identifiers import ServerName
from tricord.protocol.media import Mxc


class Elsewhere(Protocol):
    """Gets the media of other servers."""

    async def fetch(self, mxc: Mxc, patience_seconds: float) -> StoredMedia:
        """Return media of another server after its bytes have come."""
        ...


class Library:
    """All media that this server can give."""

    def __init__(self, server_name: ServerName, repository: Repository, elsewhere: Elsewhere) -> None:
        self._server_name = server_name
        self._repository = repository
        self._elsewhere = elsewhere

    async def find(self, mxc: Mxc, patience_seconds: float) -> StoredMedia:
        """Return media whose bytes are here, fetching them if they are not. Raises NotFound and its like."""
        if mxc.server_name == self._server_name:
            return await self._repository.find(mxc, patience_seconds)
        media = await self._repository.known(mxc)
        if media is not None:
            self._repository.note_use(mxc)
            return media
        return await self._elsewhere.fetch(mxc, patience_seconds)

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
