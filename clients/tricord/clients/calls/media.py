"""Files: uploading, downloading, small images of large ones."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx
import trio

from tricord.clients.api import media as api
from tricord.clients.calls.base import Calls
from tricord.clients.endpoint import Endpoint
from tricord.clients.http import Content
from tricord.protocol.media import parse_mxc

_CHUNK_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Download:
    """A file that comes: what is said of it, and its bytes as they arrive."""

    content_type: str
    content_disposition: str
    length: int | None
    """How many bytes there are, where the homeserver says so."""
    parts: AsyncIterator[bytes]

    async def read(self) -> bytes:
        """Return the whole file."""
        return b"".join([part async for part in self.parts])

    async def save(self, file: Path) -> None:
        """Write the file to a place, however large it is."""
        async with await trio.open_file(file, "wb") as target:
            async for part in self.parts:
                await target.write(part)


class MediaCalls(Calls):
    """Media, each named by its `mxc://` URI."""

    async def upload(
        self, content: Content | Path, *, content_type: str = "application/octet-stream", file_name: str | None = None
    ) -> str:
        """Upload a file, and return its URI. A path is read as it is sent, and gives its name if there is no other.

        https://spec.matrix.org/v1.19/client-server-api/#post_matrixmediav3upload
        """
        query = {"filename": file_name or (content.name if isinstance(content, Path) else None)}
        answer = await self.http.upload(
            api.UploadMedia, query=query, headers=await _headers(content, content_type), content=_content(content)
        )
        return api.UploadMedia.Response.model_validate(answer).content_uri

    async def create_media(self) -> api.CreateMedia.Response:
        """Return a URI for a file that is uploaded later, and until when: it can be sent already."""
        return await self.http.typed(api.CreateMedia, api.CreateMedia.Response)

    async def upload_created(
        self,
        mxc: str,
        content: Content | Path,
        *,
        content_type: str = "application/octet-stream",
        file_name: str | None = None,
    ) -> None:
        """Upload the file that a URI of `create_media` stands for."""
        query = {"filename": file_name or (content.name if isinstance(content, Path) else None)}
        headers = await _headers(content, content_type)
        path = _path(mxc)
        await self.http.upload(api.UploadCreatedMedia, path, query=query, headers=headers, content=_content(content))

    async def media_config(self) -> api.GetMediaConfig.Response:
        """Return how large files may be."""
        return await self.http.typed(api.GetMediaConfig, api.GetMediaConfig.Response)

    @contextlib.asynccontextmanager
    async def download(self, mxc: str, *, file_name: str | None = None, first_byte: int = 0) -> AsyncIterator[Download]:
        """Download a file, while inside the block; from `first_byte` on, for one that has come in part before.

            async with client.download(uri) as download:
                await download.save(Path("tea.jpg"))

        https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1mediadownloadservernamemediaid
        """
        headers = {"Range": f"bytes={first_byte}-"} if first_byte else {}
        endpoint: type[Endpoint] = api.DownloadMedia if file_name is None else api.DownloadNamedMedia
        path = _path(mxc) | ({} if file_name is None else {"file_name": file_name})
        async with self.http.download(endpoint, path, headers=headers) as response:
            yield _download(response)

    @contextlib.asynccontextmanager
    async def thumbnail(
        self, mxc: str, width: int, height: int, *, method: Literal["crop", "scale"] = "scale", animated: bool = False
    ) -> AsyncIterator[Download]:
        """Download a small image of an image, at least of this size if the image is.

        https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1mediathumbnailservernamemediaid
        """
        query = {"width": width, "height": height, "method": method, "animated": animated}
        async with self.http.download(api.GetThumbnail, _path(mxc), query=query) as response:
            yield _download(response)

    async def url_preview(self, url: str) -> dict[str, Any]:
        """Return what a page on the web says of itself. Raises Refused where the homeserver makes no previews.

        https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1mediapreview_url
        """
        preview: dict[str, Any] = await self.http.call(api.PreviewUrl, query={"url": url})
        return preview


def _path(mxc: str) -> dict[str, str]:
    server_name, media_id = parse_mxc(mxc)
    return {"server_name": server_name, "media_id": media_id}


def _download(response: httpx.Response) -> Download:
    headers: Mapping[str, str] = response.headers
    length = headers.get("content-length", "")
    return Download(
        headers.get("content-type", ""),
        headers.get("content-disposition", ""),
        int(length) if length.isdigit() else None,
        response.aiter_bytes(_CHUNK_BYTES),
    )


async def _headers(content: Content | Path, content_type: str) -> dict[str, str]:
    headers = {"Content-Type": content_type}
    if isinstance(content, Path):
        headers["Content-Length"] = str((await trio.Path(content).stat()).st_size)
    return headers


def _content(content: Content | Path) -> Content:
    if not isinstance(content, Path):
        return content

    async def parts() -> AsyncIterator[bytes]:
        async with await trio.open_file(content, "rb") as file:
            while part := await file.read(_CHUNK_BYTES):
                yield part

    return parts
