"""Blobs in the object storage of a cloud: S3 and what speaks like it, Google Cloud Storage, Azure.

obstore's asynchronous calls want asyncio; its synchronous ones let go of the interpreter's lock while they wait, and
run in threads here. Reading asks for one piece after the other: no request lasts long, and none is left behind by a
client that goes away.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import orjson
import trio

from tricord.homeserver.media.blobs import PAGE, BlobMissing, Held, Label, StoreUnavailable, digest_named
from tricord.homeserver.media.settings import MediaStoreSettings

if TYPE_CHECKING:
    from obstore.store import ObjectStore as Bucket

T = TypeVar("T")

_PIECE_BYTES = 1 << 20
# A large file goes up in parts of this size, so many at a time.
_PART_BYTES = 8 << 20
_PARTS_AT_ONCE = 2
_REQUEST_SECONDS = 60
_ATTEMPTS = 3
_RETRY_SECONDS = 30
_THREADS = 20


class ObjectStore:
    """Keeps blobs in a bucket."""

    keeps_labels = True

    def __init__(self, bucket: Bucket, *, redirect_seconds: int = 0) -> None:
        self._bucket = bucket
        self._redirect_seconds = redirect_seconds
        # Threads of its own: a store that hangs must not hold up what else runs in threads.
        self._limiter = trio.CapacityLimiter(_THREADS)

    async def prepare(self) -> None:
        """Do nothing: a bucket is there already."""

    async def put(self, digest: bytes, file: Path, label: Label | None = None) -> None:
        """Upload a file; until it is there as a whole, there is nothing."""
        await self._run(self._put, digest, file, label)

    async def url_of(self, digest: bytes) -> str | None:
        """Return a URL that is signed with our credentials, for as long as the settings say."""
        if not self._redirect_seconds:
            return None
        return await self._run(self._sign, digest)

    async def put_held(self, held: Held) -> bool:  # noqa: ARG002
        """Return that it takes files."""
        return False

    async def has(self, digest: bytes) -> bool:
        """Ask for what is said of an object."""
        import obstore

        try:
            await self._run(obstore.head, self._bucket, _name(digest))
        except BlobMissing:
            return False
        return True

    async def read(self, digest: bytes, start: int, end: int) -> AsyncIterator[bytes]:
        """Download a piece at a time."""
        import obstore

        name = _name(digest)
        if start == end:
            await self._run(obstore.head, self._bucket, name)
        for begin in range(start, end, _PIECE_BYTES):
            piece = partial(obstore.get_range, start=begin, end=min(begin + _PIECE_BYTES, end))
            yield bytes(await self._run(piece, self._bucket, name))

    async def delete(self, digest: bytes) -> None:
        """Delete an object."""
        with contextlib.suppress(BlobMissing):
            await self._run(self._delete, digest)

    async def digests(self, after: bytes = b"") -> AsyncIterator[Sequence[bytes]]:
        """List the bucket."""
        import obstore

        pages = obstore.list(self._bucket, offset=_name(after) if after else None, chunk_size=PAGE)
        while page := await self._run(next, pages, ()):
            digests = [digest_named(each["path"]) for each in page]
            # Not every store begins where it is asked to.
            yield [digest for digest in digests if digest is not None and digest > after]

    def _put(self, digest: bytes, file: Path, label: Label | None) -> None:
        import obstore

        attributes: Any = None
        if label is not None:
            attributes = {"Content-Type": label.content_type, "Content-Disposition": label.content_disposition}
        with file.open("rb") as handle:
            obstore.put(
                self._bucket,
                _name(digest),
                handle,
                attributes=attributes,
                chunk_size=_PART_BYTES,
                max_concurrency=_PARTS_AT_ONCE,
            )

    def _sign(self, digest: bytes) -> str:
        import obstore

        bucket: Any = self._bucket  # the three kinds that there are can all sign
        return obstore.sign(bucket, "GET", _name(digest), timedelta(seconds=self._redirect_seconds))

    def _delete(self, digest: bytes) -> None:
        import obstore

        obstore.delete(self._bucket, _name(digest))

    async def _run(self, function: Callable[..., T], *arguments: Any) -> T:
        from obstore.exceptions import BaseError

        try:
            return await trio.to_thread.run_sync(function, *arguments, limiter=self._limiter)
        except FileNotFoundError as error:  # which is what obstore makes of that
            raise BlobMissing("the store has no such object") from error
        except (BaseError, OSError) as error:
            # What it says in further lines may name credentials.
            raise StoreUnavailable(str(error).strip().partition("\n")[0][:300]) from error


def bucket_of(settings: MediaStoreSettings) -> Bucket:
    """Return the bucket that the settings name. Raises ValueError, with words for the operator."""
    try:
        from obstore.store import AzureStore, GCSStore, S3Store
    except ImportError:
        raise ValueError('a store other than "directory" needs: pip install "tricord[media-stores]"') from None
    if not settings.bucket:
        raise ValueError("bucket must be given")
    client: Any = {
        "timeout": timedelta(seconds=_REQUEST_SECONDS),
        "connect_timeout": timedelta(seconds=10),
        "allow_http": settings.endpoint.startswith("http://"),
    }
    retry: Any = {"max_retries": _ATTEMPTS, "retry_timeout": timedelta(seconds=_RETRY_SECONDS)}
    secret = settings.secret_key.get_secret_value()
    prefix = settings.prefix or None
    given: dict[str, Any]
    match settings.kind:
        case "s3":
            given = {
                "endpoint": settings.endpoint,
                "region": settings.region,
                "access_key_id": settings.access_key,
                "secret_access_key": secret,
            }
            return S3Store(settings.bucket, prefix=prefix, client_options=client, retry_config=retry, **_set(given))
        case "gcs":
            if settings.endpoint and settings.redirect_seconds:
                raise ValueError("URLs are signed for storage.googleapis.com only: redirect_seconds, or endpoint")
            if settings.endpoint:
                secret = orjson.dumps({**orjson.loads(secret or b"{}"), "gcs_base_url": settings.endpoint}).decode()
            given = {"service_account_key": secret}
            return GCSStore(settings.bucket, prefix=prefix, client_options=client, retry_config=retry, **_set(given))
        case "azure":
            given = {"endpoint": settings.endpoint, "account_name": settings.access_key, "account_key": secret}
            return AzureStore(settings.bucket, prefix=prefix, client_options=client, retry_config=retry, **_set(given))
        case "directory":
            raise ValueError("a directory has no bucket")


def _set(given: dict[str, Any]) -> dict[str, Any]:
    """Return what has been set; the rest comes from the environment, as each cloud's own tools take it."""
    return {name: value for name, value in given.items() if value}


def _name(digest: bytes) -> str:
    return digest.hex()
