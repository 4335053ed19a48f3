"""What a page on the web says of itself: title, words and an image, for who sees a link to it.

https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1mediapreview_url
"""

from __future__ import annotations

import contextlib
import hashlib
from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import orjson
import trio

from tricord.federation.errors import AddressRefused, EgressError
from tricord.federation.transport import OpenResponse
from tricord.federation.way_out import WayOut
from tricord.homeserver.clock import Clock
from tricord.homeserver.media.confined import TooMuchOutput, run_script
from tricord.homeserver.media.disposition import media_type
from tricord.homeserver.media.image_size import HEAD_BYTES, image_size
from tricord.homeserver.media.repository import Description, Repository, receiving
from tricord.homeserver.media.settings import UrlPreviewSettings
from tricord.homeserver.media.spool import Spool, TooManyBytes
from tricord.homeserver.media.thumbnails import image_type
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.url_previews import insert_preview, preview_of
from tricord.homeserver.turns import Turns
from tricord.protocol.errors import Forbidden, MatrixError, NotFound
from tricord.protocol.globs import Glob
from tricord.protocol.media import Mxc
from tricord.protocol.strict_json import JsonObject

_WORKER = Path(__file__).with_name("page_worker.py")
_PARSER_BYTES = 512 << 20
_PARSER_CPU_SECONDS = 3
_PARSER_SECONDS = 20
_LONGEST_URL = 2048
_LONGEST_OEMBED = 256 << 10
_FETCH_SECONDS = 30
_ANSWER_SECONDS = 10
_AT_ONCE = 10
# Everybody in a room asks for what one of them has said; a page that does not answer is left alone for so long.
_REMEMBERED_SECONDS = 300.0
_MOST_REMEMBERED = 10_000
_HTML = frozenset({"text/html", "application/xhtml+xml"})
_SCHEMES = ("https", "http")
# What is passed on to clients of all that a page may say.
_KEPT = ("og:title", "og:description", "og:site_name", "og:type", "og:url")
_HEADERS = {"Accept": "text/html, application/xhtml+xml, image/*;q=0.9", "User-Agent": "Tricord (URL previews)"}


@dataclass(frozen=True, slots=True)
class _Picture:
    """The image of a page, as media of this server."""

    mxc: Mxc
    content_type: str
    size: int
    shape: tuple[int, int] | None

    def told(self) -> JsonObject:
        """Return what clients are told of it."""
        told: JsonObject = {
            "og:image": str(self.mxc),
            "og:image:type": self.content_type,
            "matrix:image:size": self.size,
        }
        if self.shape is not None:
            told["og:image:width"], told["og:image:height"] = self.shape
        return told


class UrlPreviews:
    """Asks pages, if it may, and remembers what they said."""

    def __init__(
        self,
        database: Database,
        way_out: WayOut,
        repository: Repository,
        spool: Spool,
        clock: Clock,
        settings: UrlPreviewSettings,
    ) -> None:
        self._database = database
        self._way_out = way_out
        self._repository = repository
        self._spool = spool
        self._clock = clock
        self._settings = settings
        self._allowed = [Glob(pattern.lower()) for pattern in settings.allowed_hosts]
        self._limiter = trio.CapacityLimiter(_AT_ONCE)
        self._turns: Turns[bytes] = Turns()
        self._refusals: OrderedDict[bytes, tuple[float, MatrixError]] = OrderedDict()

    async def preview(self, url: str) -> JsonObject:
        """Return what is known of a URL. Raises Forbidden where we do not go, and NotFound where nothing is."""
        if not self._allowed:
            raise Forbidden("this server makes no previews of URLs")
        # With it comes httpx, which URLs are read by here, too.
        await self._way_out.open()
        if len(url) > _LONGEST_URL or not self._permits(_host(url)):
            raise Forbidden("this server makes no previews of this URL")
        digest = hashlib.sha256(url.encode(errors="replace")).digest()
        if (known := await self._known(digest)) is not None:
            return known
        async with self._turns.of(digest):
            # It may have been asked since it was looked for.
            if (known := await self._known(digest)) is not None:
                return known
            self._check_not_refused(digest)
            try:
                async with self._limiter:
                    return await self._asked_in_time(url, digest)
            except (Forbidden, NotFound) as refusal:
                self._remember(digest, refusal)
                raise

    async def _known(self, digest: bytes) -> JsonObject | None:
        after = self._clock.now_ms() - self._settings.keep_hours * 3_600_000
        known = await self._database.read(preview_of, digest, after)
        preview: JsonObject | None = None if known is None else orjson.loads(known)
        return preview

    async def _asked_in_time(self, url: str, digest: bytes) -> JsonObject:
        try:
            with trio.move_on_after(_FETCH_SECONDS):
                return await self._asked(url, digest)
        except AddressRefused:
            raise Forbidden("this server makes no previews of this URL") from None
        except EgressError as error:
            raise NotFound(f"the page cannot be fetched: {error}") from error
        raise NotFound("the page takes too long")

    def _check_not_refused(self, digest: bytes) -> None:
        until, refusal = self._refusals.get(digest, (0.0, None))
        if refusal is not None and until > trio.current_time():
            raise refusal

    def _remember(self, digest: bytes, refusal: MatrixError) -> None:
        self._refusals[digest] = (trio.current_time() + _REMEMBERED_SECONDS, refusal)
        self._refusals.move_to_end(digest)
        if len(self._refusals) > _MOST_REMEMBERED:
            self._refusals.popitem(last=False)

    async def _asked(self, url: str, digest: bytes) -> JsonObject:
        preview: JsonObject = {}
        image: str | None = None
        egress = await self._way_out.open()
        async with egress.open_url(
            url,
            headers=_HEADERS | {"Accept-Language": self._settings.languages},
            timeout_seconds=_ANSWER_SECONDS,
            max_redirects=5,
            schemes=_SCHEMES,
            permits=self._permits,
        ) as response:
            if response.status != 200:
                raise NotFound(f"the page answers with status {response.status}")
            content_type = response.headers.get("content-type", "")
            kind = media_type(content_type)
            page = None
            if kind in _HTML:
                page = await self._read(response, content_type)
            elif kind.startswith("image/"):
                image = url
        if page is not None:
            preview, image = await self._told(url, page)
        kept = None
        if image is not None:
            kept = await self._image(image)
            if kept is not None:
                preview |= kept.told()
        image_id = None if kept is None else kept.mxc.media_id
        await self._database.run(insert_preview, digest, orjson.dumps(preview), image_id, self._clock.now_ms())
        return preview

    async def _read(self, response: OpenResponse, content_type: str) -> JsonObject | None:
        """Return what a page says, as a process of its own reads it; None if it cannot."""
        import httpx

        encoding = httpx.Headers({"content-type": content_type}).get("content-type", "").partition("charset=")[2]
        arguments = (encoding.strip(" \"';")[:40], str(_PARSER_BYTES), str(_PARSER_CPU_SECONDS))
        data = await _first(response.parts, self._settings.max_page_bytes)
        try:
            with trio.move_on_after(_PARSER_SECONDS):
                status, output = await run_script(_WORKER, arguments, _at_once(data), max_output=1 << 20)
                page: JsonObject | None = orjson.loads(output) if status == 0 and output else None
                return page
        except (TooMuchOutput, orjson.JSONDecodeError):
            pass
        return None

    async def _told(self, url: str, page: JsonObject) -> tuple[JsonObject, str | None]:
        """Return what is passed on of what a page says, and the URL of its image."""
        said = page["properties"]
        preview = {name: said[name].strip() for name in _KEPT if said.get(name, "").strip()}
        image = said.get("og:image") or said.get("og:image:url") or said.get("twitter:image")
        if ("og:title" not in preview or not image) and page["oembed"]:
            embed = await self._embedded(_joined(url, page["oembed"]))
            title, thumbnail = embed.get("title"), embed.get("thumbnail_url")
            if isinstance(title, str) and title:
                preview.setdefault("og:title", title[:1000])
            if embed.get("type") == "photo":
                thumbnail = embed.get("url", thumbnail)
            image = image or (thumbnail if isinstance(thumbnail, str) else None)
            provider = embed.get("provider_name")
            if isinstance(provider, str) and provider:
                preview.setdefault("og:site_name", provider[:1000])
        title = preview.get("og:title") or said.get("twitter:title") or page["title"]
        words = (
            preview.get("og:description")
            or said.get("description")
            or said.get("twitter:description")
            or page["words"][:500]
        )
        preview |= {name: value for name, value in (("og:title", title), ("og:description", words)) if value}
        return preview, _joined(url, image) if image else None

    async def _embedded(self, url: str | None) -> JsonObject:
        """Return what the oEmbed document of a page says, if there is one that we may ask: https://oembed.com."""
        if url is None:
            return {}
        try:
            async with self._opened(url) as response:
                value = orjson.loads(await _first(response.parts, _LONGEST_OEMBED)) if response.status == 200 else {}
        except (EgressError, orjson.JSONDecodeError):
            return {}
        return value if isinstance(value, dict) else {}

    async def _image(self, url: str) -> _Picture | None:
        """Keep an image, if it is one of the formats that we know."""
        try:
            async with self._opened(url) as response:
                if response.status != 200:
                    return None
                with receiving():
                    async with self._spool.receive(response.parts, self._settings.max_image_bytes) as spooled:
                        head = await trio.to_thread.run_sync(_head, spooled.file)
                        content_type = image_type(head[:16])
                        if content_type is None:
                            return None
                        mxc = await self._repository.keep_own(spooled, Description(content_type, None))
                        return _Picture(mxc, content_type, spooled.size, image_size(head))
        except (EgressError, TooManyBytes, MatrixError):
            return None

    @contextlib.asynccontextmanager
    async def _opened(self, url: str) -> AsyncIterator[OpenResponse]:
        if len(url) > _LONGEST_URL or not self._permits(_host(url)):
            raise AddressRefused("this is not where previews are made of")
        egress = await self._way_out.open()
        async with egress.open_url(
            url,
            headers={"User-Agent": _HEADERS["User-Agent"]},
            timeout_seconds=_ANSWER_SECONDS,
            schemes=_SCHEMES,
            permits=self._permits,
        ) as response:
            yield response

    def _permits(self, host: str) -> bool:
        return any(each.matches(host.lower()) for each in self._allowed)


def _host(url: str) -> str:
    import httpx

    try:
        return httpx.URL(url).host
    except (httpx.InvalidURL, ValueError):
        return ""


def _joined(base: str, url: str) -> str | None:
    import httpx

    try:
        return str(httpx.URL(base).join(url))
    except (httpx.InvalidURL, ValueError):
        return None


def _head(file: Path) -> bytes:
    with file.open("rb") as handle:
        return handle.read(HEAD_BYTES)


async def _first(parts: AsyncIterator[bytes], most: int) -> bytes:
    """Return the beginning of a body: what a page says of itself stands there."""
    data = bytearray()
    async for part in parts:
        data += part
        if len(data) >= most:
            break
    return bytes(data[:most])


async def _at_once(data: bytes) -> AsyncIterator[bytes]:
    yield data
