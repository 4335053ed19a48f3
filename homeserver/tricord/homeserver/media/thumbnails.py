"""Small images of large ones: in which sizes there are any, and making each once.

https://spec.matrix.org/v1.19/client-server-api/#thumbnails
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Literal

import structlog
import trio

from tricord.homeserver.clock import Clock
from tricord.homeserver.media.blobs import BlobMissing, Label, StoreUnavailable
from tricord.homeserver.media.image_maker import ImageMaker, ImageTooLarge, NoImage
from tricord.homeserver.media.repository import Description, Repository, naming, receiving
from tricord.homeserver.media.settings import ThumbnailSettings
from tricord.homeserver.media.single_hand import SingleHand
from tricord.homeserver.media.spool import Spool
from tricord.homeserver.media.thumbnail_worker import Size
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.media import StoredMedia
from tricord.homeserver.storage.media_thumbnails import (
    StoredThumbnail,
    ThumbnailKey,
    insert_thumbnail,
    thumbnail_of,
)
from tricord.homeserver.turns import Turns
from tricord.protocol.errors import MatrixError, RemoteMediaTooLarge, TooLarge, Unavailable, Unknown
from tricord.protocol.identifiers import ServerName

_log = structlog.get_logger(__name__)

Method = Literal["crop", "scale"]

# What clients ask for is rounded up to one of these, so that one image has few thumbnails.
_SCALED = ((320, 240), (640, 480), (800, 600), (1600, 1200))
_LONGEST_SIDES = (32, 96, 160, 320, 640, 800, 1200, 1600, 2400)
_MOST_REMEMBERED = 10_000
# Another process that makes the same small images is waited for so long.
_PATIENCE_SECONDS = 10
_ENDINGS = {"image/jpeg": "jpg", "image/png": "png", "image/gif": "gif", "image/webp": "webp"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a client would like to see."""

    width: int
    height: int
    method: Method
    animated: bool

    def rounded(self) -> Wanted:
        """Return the size that is made: at least as large as what is wanted, where there are such large ones."""
        if self.method == "scale":
            for width, height in _SCALED:
                if self.width <= width and self.height <= height:
                    return Wanted(width, height, "scale", self.animated)
        longest = max(self.width, self.height)
        side = next((each for each in _LONGEST_SIDES if each >= longest), _LONGEST_SIDES[-1])
        # The shorter side in eighths of the longer one: nearly the shape that is wanted, and only so many of them.
        shorter = -(-min(self.width, self.height) * 8 // longest) * side // 8
        width, height = (side, shorter) if self.width >= self.height else (shorter, side)
        return Wanted(max(width, 1), max(height, 1), self.method, self.animated)


USUAL = (
    Wanted(32, 32, "crop", animated=False),
    Wanted(96, 96, "crop", animated=False),
    Wanted(320, 240, "scale", animated=False),
    Wanted(640, 480, "scale", animated=False),
    Wanted(800, 600, "scale", animated=False),
)
"""The sizes in which clients ask for most images: who asks for one has all of them made, as the image is decoded once.

https://spec.matrix.org/v1.19/client-server-api/#thumbnails
"""


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A small image, as a file."""

    digest: bytes
    size: int
    content_type: str
    label: Label | None = None

    @property
    def file_name(self) -> str:
        """What it is called."""
        return thumbnail_name(self.content_type)


def thumbnail_name(content_type: str) -> str:
    """Return what a small image of a type is called."""
    return f"thumbnail.{_ENDINGS.get(content_type, 'bin')}"


def image_type(head: bytes) -> str | None:
    """Return of which of the four formats an image is, by its first bytes."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    return None


class Thumbnails:
    """Finds small images, and has them made."""

    def __init__(
        self,
        server_name: ServerName,
        database: Database,
        repository: Repository,
        spool: Spool,
        maker: ImageMaker,
        clock: Clock,
        settings: ThumbnailSettings,
        single_hand: SingleHand,
    ) -> None:
        self._single_hand = single_hand
        self._server_name = server_name
        self._database = database
        self._repository = repository
        self._spool = spool
        self._maker = maker
        self._clock = clock
        self._settings = settings
        self._turns: Turns[bytes] = Turns()
        # The bytes never change, and what cannot be made of them cannot later either.
        self._hopeless: OrderedDict[bytes, type[Exception]] = OrderedDict()

    async def of(self, media: StoredMedia, wanted: Wanted) -> Thumbnail:
        """Return a small image of media that is here. Raises Unknown, TooLarge and RemoteMediaTooLarge."""
        assert media.digest is not None  # noqa: S101  # only files that are there have images
        wanted = wanted.rounded()
        key = ThumbnailKey(media.digest, wanted.width, wanted.height, wanted.method, wanted.animated)
        if (made := await self._found(key)) is not None:
            return made
        # An image is decoded once at a time, whatever is wanted of it: most is made together.
        async with self._turns.of(media.digest):
            keys = [key]
            if wanted in USUAL:
                usual = (
                    ThumbnailKey(media.digest, each.width, each.height, each.method, each.animated) for each in USUAL
                )
                keys += [each for each in usual if each != key]
            thing = f"thumbnails/{media.digest.hex()}"
            async with self._single_hand.at(thing, lambda: self._found(key), _PATIENCE_SECONDS) as made:
                return made or await self._made(media, media.digest, keys)

    async def _found(self, key: ThumbnailKey) -> Thumbnail | None:
        stored = await self._database.read(thumbnail_of, key)
        if stored is None:
            return None
        return Thumbnail(stored.digest or key.source, stored.size, stored.content_type, stored.label)

    async def named(self, uri: str, wanted: Wanted) -> Thumbnail | None:
        """Return the small image that another server has made of its media, if there is one."""
        return await self._found(_named_key(uri, wanted))

    async def keep_named(self, uri: str, wanted: Wanted, data: bytes) -> Thumbnail | None:
        """Keep the small image that another server has made; None if it is none of the four formats."""
        content_type = image_type(data[:16])
        if content_type is None:
            return None
        return await self._kept(_named_key(uri, wanted), data, content_type, from_elsewhere=True)

    async def _made(self, media: StoredMedia, digest: bytes, keys: Sequence[ThumbnailKey]) -> Thumbnail:
        """Make a small image, the first, and with it some others, as far as they can be made."""
        if (hopeless := self._hopeless.get(digest)) is not None:
            raise self._refusal(media, hopeless)
        try:
            head = b"".join([part async for part in self._repository.read(digest, 0, min(16, media.size))])
            original_type = image_type(head)
            if original_type is None:
                raise NoImage
            if media.size > self._settings.max_source_bytes:
                raise ImageTooLarge
            made = await self._decoded(media, digest, keys)
        except (BlobMissing, StoreUnavailable) as error:
            _log.error("media cannot be read", reason=str(error))
            raise Unavailable("the server cannot read this file now, try again later") from error
        except (NoImage, ImageTooLarge) as error:
            self._hopeless[digest] = type(error)
            if len(self._hopeless) > _MOST_REMEMBERED:
                self._hopeless.popitem(last=False)
            raise self._refusal(media, type(error)) from error
        kept: dict[ThumbnailKey, Thumbnail] = {}
        failed: dict[ThumbnailKey, Exception] = {}

        async def keep(key: ThumbnailKey, data: bytes | None) -> None:
            try:
                if data is None:
                    await self._add(key, StoredThumbnail(None, media.size, original_type), from_elsewhere=False)
                    kept[key] = Thumbnail(digest, media.size, original_type)
                else:
                    kept[key] = await self._kept(key, data, image_type(data[:16]) or "image/jpeg", from_elsewhere=False)
            except Exception as error:  # noqa: BLE001  # raised below, if it is of the one that is asked for
                failed[key] = error

        async with trio.open_nursery() as nursery:
            for key, data in made.items():
                nursery.start_soon(keep, key, data)
        if keys[0] in failed:
            raise failed[keys[0]]
        for failure in failed.values():
            _log.warning("a thumbnail cannot be kept", reason=str(failure))
        return kept[keys[0]]

    async def _decoded(
        self, media: StoredMedia, digest: bytes, keys: Sequence[ThumbnailKey]
    ) -> dict[ThumbnailKey, bytes | None]:
        sizes = {Size(key.method, key.width, key.height): key for key in keys}
        try:
            made = await self._maker.make(
                self._repository.read(digest, 0, media.size), list(sizes), animated=keys[0].animated
            )
        except ImageTooLarge:
            if len(keys) == 1:
                raise
            # All of them together may have taken too much.
            return await self._decoded(media, digest, keys[:1])
        return {sizes[size]: data for size, data in made.items()}

    async def _kept(self, key: ThumbnailKey, data: bytes, content_type: str, *, from_elsewhere: bool) -> Thumbnail:
        with receiving():
            async with self._spool.receive_upload(_at_once(data), len(data)) as spooled:
                label = await self._repository.keep(spooled, Description(content_type, thumbnail_name(content_type)))
                stored = StoredThumbnail(spooled.digest, spooled.size, content_type)
                await self._add(key, stored, from_elsewhere=from_elsewhere)
                return Thumbnail(spooled.digest, spooled.size, content_type, label)

    async def _add(self, key: ThumbnailKey, stored: StoredThumbnail, *, from_elsewhere: bool) -> None:
        with naming():
            await self._database.run_one(
                insert_thumbnail, key, stored, self._clock.now_ms(), from_elsewhere=from_elsewhere
            )

    def _refusal(self, media: StoredMedia, reason: type[Exception]) -> MatrixError:
        if reason is NoImage:
            return Unknown(f"{media.mxc} is no PNG, JPEG, GIF or WebP image that can be made smaller")
        words = f"{media.mxc} is too large an image to be made smaller"
        return TooLarge(words) if media.mxc.server_name == self._server_name else RemoteMediaTooLarge(words)


def digest_of_name(uri: str) -> bytes:
    """Return what stands for media elsewhere that has not been fetched."""
    return hashlib.sha256(uri.encode()).digest()


def _named_key(uri: str, wanted: Wanted) -> ThumbnailKey:
    wanted = wanted.rounded()
    return ThumbnailKey(digest_of_name(uri), wanted.width, wanted.height, wanted.method, wanted.animated)


async def _at_once(data: bytes) -> AsyncIterator[bytes]:
    yield data
