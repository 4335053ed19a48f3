"""Routes for servers whose users look at files of ours.

https://spec.matrix.org/v1.19/server-server-api/#content-repository
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator
from typing import Any

from tricord.federation.api.media import DownloadMedia, GetThumbnail
from tricord.federation.multipart import part_head
from tricord.homeserver.client_api.media_files import File, begun
from tricord.homeserver.media.blobs import BlobReader
from tricord.homeserver.media.disposition import content_disposition
from tricord.homeserver.media.repository import Repository
from tricord.homeserver.media.thumbnails import Thumbnails, Wanted
from tricord.homeserver.serving.call import Answer, Call, Route
from tricord.homeserver.storage.media import StoredMedia
from tricord.protocol.identifiers import ServerName
from tricord.protocol.media import mxc_of

_LONGEST_WAIT_SECONDS = 60


class FederationMediaApi:
    """Gives our own files to other servers, and nobody else's."""

    def __init__(self, server_name: ServerName, repository: Repository, thumbnails: Thumbnails) -> None:
        self._server_name = server_name
        self._repository = repository
        self._thumbnails = thumbnails

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [Route(DownloadMedia, self.download), Route(GetThumbnail, self.thumbnail)]

    async def download(self, call: Call[Any, DownloadMedia.Query]) -> Answer:
        """Answer a file."""
        media = await self._media(call.path["media_id"], call.query.timeout_ms)
        return await multipart_answer(media, self._repository)

    async def thumbnail(self, call: Call[Any, GetThumbnail.Query]) -> Answer:
        """Answer a small image of a file."""
        query = call.query
        wanted = Wanted(query.width, query.height, query.method, query.animated)
        media = await self._media(call.path["media_id"], query.timeout_ms)
        return await multipart_answer(await self._thumbnails.of(media, wanted), self._repository)

    async def _media(self, media_id: str, timeout_ms: int) -> StoredMedia:
        mxc = mxc_of(self._server_name, media_id)
        return await self._repository.find(mxc, min(timeout_ms / 1000, _LONGEST_WAIT_SECONDS))


async def multipart_answer(file: File, reader: BlobReader) -> Answer:
    """Return a file in the form for other servers: two parts, the first of which says nothing yet."""
    assert file.digest is not None  # noqa: S101  # only files that are there are given
    boundary = secrets.token_hex(16)
    described = {
        "Content-Type": file.content_type,
        "Content-Disposition": content_disposition(file.content_type, file.file_name).decode("ascii"),
    }
    head = part_head(boundary, {"Content-Type": "application/json"}) + b"{}\r\n" + part_head(boundary, described)
    tail = f"\r\n--{boundary}--\r\n".encode()
    parts = await begun(reader.read(file.digest, 0, file.size))

    async def whole() -> AsyncIterator[bytes]:
        yield head
        async with contextlib.aclosing(parts):  # type: ignore[type-var]  # stores give generators
            async for part in parts:
                yield part
        yield tail

    return Answer(
        whole(),
        headers=(
            (b"content-type", f"multipart/mixed; boundary={boundary}".encode()),
            (b"content-length", str(len(head) + file.size + len(tail)).encode()),
        ),
    )
