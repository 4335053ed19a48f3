"""Getting a file from the server that it is from: by the signed endpoint, or else by the one that is older.

https://spec.matrix.org/v1.19/server-server-api/#content-repository
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tricord.clients.api.media import DownloadMediaUnauthenticated, GetThumbnailUnauthenticated
from tricord.clients.endpoint import Endpoint
from tricord.federation.api.media import DownloadMedia, GetThumbnail
from tricord.federation.client import FederationClient
from tricord.federation.errors import AnswerInvalid, HostUnreachable, PeerAnswerInvalid, PeerRefused, PeerUnreachable
from tricord.federation.multipart import MultipartReader
from tricord.federation.transport import OpenResponse
from tricord.protocol.identifiers import ServerName
from tricord.protocol.media import Mxc

# Beyond the time that the other server may wait for an upload.
_ANSWER_SECONDS = 15.0
_LONGEST_DESCRIPTION = 64 << 10


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file that comes: its headers, and its bytes as they arrive. Reading raises a PeerError."""

    headers: Mapping[str, str]
    parts: AsyncIterator[bytes]


class RemoteFiles:
    """Gets files from other servers."""

    def __init__(self, client: FederationClient, *, ask_old_endpoints: bool = True) -> None:
        self._client = client
        self._ask_old_endpoints = ask_old_endpoints

    @contextlib.asynccontextmanager
    async def download(self, mxc: Mxc, *, patience_seconds: float) -> AsyncIterator[RemoteFile]:
        """Give a file while inside the block; wait so long for one that has not been uploaded yet.

        Raises PeerRefused, PeerUnreachable or PeerAnswerInvalid.
        """
        query = {"timeout_ms": int(patience_seconds * 1000)}
        async with self._asked(
            mxc, DownloadMedia, DownloadMediaUnauthenticated, query, patience_seconds + _ANSWER_SECONDS
        ) as file:
            yield file

    @contextlib.asynccontextmanager
    async def thumbnail(
        self, mxc: Mxc, *, width: int, height: int, method: str, animated: bool, patience_seconds: float
    ) -> AsyncIterator[RemoteFile]:
        """Give a small image of a file while inside the block; raise as `download` does."""
        query = {
            "width": width,
            "height": height,
            "method": method,
            "animated": animated,
            "timeout_ms": int(patience_seconds * 1000),
        }
        async with self._asked(
            mxc, GetThumbnail, GetThumbnailUnauthenticated, query, patience_seconds + _ANSWER_SECONDS
        ) as file:
            yield file

    @contextlib.asynccontextmanager
    async def _asked(
        self,
        mxc: Mxc,
        endpoint: type[Endpoint],
        old_endpoint: type[Endpoint],
        query: Mapping[str, Any],
        timeout_seconds: float,
    ) -> AsyncIterator[RemoteFile]:
        server, media_id = mxc
        async with contextlib.AsyncExitStack() as stack:
            try:
                answer = await stack.enter_async_context(
                    self._client.open(server, endpoint, {"media_id": media_id}, query, timeout_seconds=timeout_seconds)
                )
            except PeerRefused as refusal:
                # Servers of before v1.11 do not know the endpoint.
                if not self._ask_old_endpoints or refusal.errcode != "M_UNRECOGNIZED":
                    raise
                old_query = {**query, "allow_remote": False}
                path = {"server_name": server, "media_id": media_id}
                answer = await stack.enter_async_context(
                    self._client.open(server, old_endpoint, path, old_query, timeout_seconds=timeout_seconds)
                )
                yield RemoteFile(answer.headers, answer.parts)
                return
            with _of(server):
                reader = MultipartReader(answer.headers.get("content-type", ""), answer.parts)
                await reader.next_part()
                await _pass_over(reader)
                headers = await reader.next_part()
            location = headers.get("location")
            if location is None:
                body = await stack.enter_async_context(contextlib.aclosing(_in_words(server, reader.body())))
                yield RemoteFile(headers, body)
                return
            with _of(server):
                elsewhere: OpenResponse = await stack.enter_async_context(
                    self._client.open_url(location, timeout_seconds=timeout_seconds)
                )
            if elsewhere.status != 200:
                raise PeerUnreachable(server, f"where it says that the file is, the answer is {elsewhere.status}")
            body = await stack.enter_async_context(contextlib.aclosing(_in_words(server, elsewhere.parts)))
            yield RemoteFile(elsewhere.headers, body)


async def _pass_over(reader: MultipartReader) -> None:
    """Read the description of a file, which says nothing yet."""
    size = 0
    async for part in reader.body():
        size += len(part)
        if size > _LONGEST_DESCRIPTION:
            raise AnswerInvalid("the description of the file is too long")


@contextlib.contextmanager
def _of(server: ServerName) -> Iterator[None]:
    """Raise a PeerError for what is wrong with an answer, or with where it leads."""
    try:
        yield
    except AnswerInvalid as error:
        raise PeerAnswerInvalid(server, str(error)) from error
    except HostUnreachable as error:
        raise PeerUnreachable(server, str(error)) from error


async def _in_words(server: ServerName, parts: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    async with contextlib.aclosing(parts):  # type: ignore[type-var]  # a generator
        while True:
            with _of(server):
                part = await anext(parts, b"")
            if not part:
                return
            yield part
