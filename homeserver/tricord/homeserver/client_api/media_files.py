"""A file as the answer to a request: whole, in part, or only that it has not changed."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Protocol

import structlog
import trio

from tricord.homeserver.media.blobs import BlobMissing, BlobReader, Label, StoreUnavailable
from tricord.homeserver.media.disposition import content_disposition
from tricord.homeserver.media.incoming import CutShort, Incoming
from tricord.homeserver.media.ranges import RangeNotSatisfiable, asked_range
from tricord.homeserver.media.repository import label_for
from tricord.homeserver.serving.call import Answer, Header
from tricord.protocol.errors import Unavailable

_log = structlog.get_logger(__name__)


class File(Protocol):
    """What is given: media, or a small image of it."""

    @property
    def digest(self) -> bytes | None:
        """The name of its bytes."""

    @property
    def size(self) -> int:
        """How many there are."""

    @property
    def content_type(self) -> str:
        """What they are said to be."""

    @property
    def file_name(self) -> str | None:
        """What the file is called."""

    @property
    def label(self) -> Label | None:
        """What the store gives it as, if it is one that can."""


class Source(BlobReader, Protocol):
    """Where the bytes of files are, and are to be had."""

    async def url_of(self, digest: bytes) -> str | None:
        """Return a URL by which anybody gets a blob for a while; None if the server is to give it."""
        ...


# The first is what the specification recommends; where a client shows files on the homeserver's own domain, no file may
# act in its name. https://spec.matrix.org/v1.19/client-server-api/#content-repository
_POLICY = (
    b"sandbox; default-src 'none'; script-src 'none'; plugin-types application/pdf; style-src 'unsafe-inline'; "
    b"object-src 'self';"
)
_ALWAYS: tuple[Header, ...] = (
    (b"content-security-policy", _POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-resource-policy", b"cross-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-robots-tag", b"noindex, nofollow, noarchive, noimageindex"),
)
# Where a redirect leads holds for a while only.
_NOT_KEPT: Header = (b"cache-control", b"no-store")
_IN_PARTS: Header = (b"accept-ranges", b"bytes")
# The bytes behind a name never change; but only we know who may see them, so that no cache in between keeps them.
_CACHING: Header = (b"cache-control", b"private, max-age=604800, immutable")


async def file_answer(
    request: Mapping[str, str], file: File, source: Source, file_name: str | None = None, *, may_redirect: bool = True
) -> Answer:
    """Return the answer to a request for a file, by the request's headers."""
    assert file.digest is not None  # noqa: S101  # only files that are there are given
    # The headers of the file must be the same there.
    if may_redirect and file.label == label_for(file.content_type, file_name or file.file_name):
        url = await source.url_of(file.digest)
        if url is not None:
            return Answer(b"", status=307, headers=(*_ALWAYS, (b"location", url.encode()), _NOT_KEPT))
    etag = f'"{file.digest[:16].hex()}"'
    headers = (
        *_ALWAYS,
        _IN_PARTS,
        _CACHING,
        (b"etag", etag.encode()),
        (b"content-type", file.content_type.encode("latin-1")),
        (b"content-disposition", content_disposition(file.content_type, file_name or file.file_name)),
    )
    if _names(request.get("if-none-match", ""), etag):
        return Answer(b"", status=304, headers=headers)
    wanted = None
    # A part is only of use to who has the rest of the same file.
    if request.get("if-range", etag) == etag:
        try:
            wanted = asked_range(request.get("range"), file.size)
        except RangeNotSatisfiable:
            nothing = (b"content-range", f"bytes */{file.size}".encode())
            return Answer({"errcode": "M_UNKNOWN", "error": "the file has no such part"}, 416, (nothing,))
    start, end = wanted or (0, file.size)
    if wanted:
        headers = (*headers, (b"content-range", f"bytes {start}-{end - 1}/{file.size}".encode()))
    headers = (*headers, (b"content-length", str(end - start).encode()))
    parts = await begun(source.read(file.digest, start, end))
    return Answer(parts, status=206 if wanted else 200, headers=headers)


async def begun(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Return the same bytes, the first of which are there: what cannot be read is refused before an answer begins."""
    try:
        first = await anext(parts, b"")
    except (BlobMissing, StoreUnavailable) as error:
        _log.error("media cannot be read", reason=str(error))
        raise Unavailable("the server cannot read this file now, try again later") from error

    async def all_of_them() -> AsyncIterator[bytes]:
        yield first
        async for part in parts:
            yield part

    return broken_off(all_of_them(), parts)


async def broken_off(parts: AsyncIterator[bytes], source: AsyncIterator[bytes] | None = None) -> AsyncIterator[bytes]:
    """Return the same bytes; where the rest cannot be had, break the connection, so that no part is taken for all."""
    async with contextlib.aclosing(source or parts):  # type: ignore[type-var]  # stores give generators
        try:
            async for part in parts:
                yield part
        except (BlobMissing, StoreUnavailable, CutShort) as error:
            _log.error("media is broken off", reason=str(error))
            raise trio.BrokenResourceError("the rest of the file cannot be had") from error


def needs_whole(request: Mapping[str, str]) -> bool:
    """Whether a request can be answered only once all of a file is there: it asks for a part other than all of it."""
    return request.get("range", "bytes=0-").replace(" ", "").lower() != "bytes=0-"


def incoming_answer(incoming: Incoming, file_name: str | None = None) -> Answer:
    """Return the answer to a request for a file that is still coming."""
    described = incoming.description
    assert described is not None  # noqa: S101  # it has begun
    headers = (
        *_ALWAYS,
        _CACHING,
        (b"content-type", described.content_type.encode("latin-1")),
        (b"content-disposition", content_disposition(described.content_type, file_name or described.file_name)),
    )
    if incoming.length is not None:
        headers = (*headers, (b"content-length", str(incoming.length).encode()))
    return Answer(broken_off(incoming.parts()), headers=headers)


def _names(header: str, etag: str) -> bool:
    return header.strip() == "*" or etag in (each.strip().removeprefix("W/") for each in header.split(","))
