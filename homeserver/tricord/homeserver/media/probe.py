"""Trying a store: whether it takes some bytes, gives them back, and deletes them."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator, Iterator

import trio

from tricord.homeserver.media.blobs import BlobMissing, BlobStore, StoreUnavailable
from tricord.homeserver.media.spool import Spool

_PATIENCE_SECONDS = 120


class ProbeFailed(Exception):
    """The store does not do what it must; the words say which of it, and why."""


async def probe(store: BlobStore, spool: Spool) -> None:
    """Keep some bytes that nobody else has, as an upload does, read them and delete them. Raises ProbeFailed."""
    data = secrets.token_bytes(1000)
    with _trying("it cannot be written"):
        async with spool.receive(_at_once(data), len(data)) as spooled:
            await store.put(spooled.digest, spooled.file)
    digest = spooled.digest
    try:
        with _trying("it cannot be read"):
            if b"".join([part async for part in store.read(digest, 0, len(data))]) != data:
                raise ProbeFailed("it gives other bytes than it was given")
        with _trying("URLs for redirects cannot be signed"):
            await store.url_of(digest)
    finally:
        with _trying("nothing can be deleted from it"):
            await store.delete(digest)


@contextlib.contextmanager
def _trying(otherwise: str) -> Iterator[None]:
    try:
        with trio.fail_after(_PATIENCE_SECONDS):
            yield
    except (StoreUnavailable, BlobMissing) as error:
        raise ProbeFailed(f"{otherwise}: {error}") from error
    except trio.TooSlowError:
        raise ProbeFailed(f"{otherwise}: it does not answer") from None


async def _at_once(data: bytes) -> AsyncIterator[bytes]:
    yield data
