"""Making the usual small images as soon as an image is uploaded, where the operator wants that."""

from __future__ import annotations

import structlog
import trio

from tricord.homeserver.media.repository import Repository
from tricord.homeserver.media.thumbnails import USUAL, Thumbnails
from tricord.protocol.errors import MatrixError
from tricord.protocol.media import Mxc

_log = structlog.get_logger(__name__)

_MOST_WAITING = 1000


class ThumbnailsAhead:
    """Goes through what is uploaded, one after the other; what is too much for it is made when it is asked for."""

    def __init__(self, repository: Repository, thumbnails: Thumbnails, *, enabled: bool) -> None:
        self._repository = repository
        self._thumbnails = thumbnails
        self._enabled = enabled
        self._send, self._receive = trio.open_memory_channel[Mxc](_MOST_WAITING)

    def consider(self, mxc: Mxc) -> None:
        """Take note of an upload."""
        if self._enabled:
            try:
                self._send.send_nowait(mxc)
            except trio.WouldBlock:
                _log.debug("a thumbnail is not made ahead", media=str(mxc))

    async def run(self) -> None:
        """Make them, for ever."""
        async for mxc in self._receive:
            try:
                await self._make(mxc)
            except MatrixError:
                pass  # it is no image, or a bad one; who asks for it is told so
            except Exception:  # noqa: BLE001  # whatever it is, the next one may be made
                _log.exception("a thumbnail is not made ahead", media=str(mxc))

    async def _make(self, mxc: Mxc) -> None:
        media = await self._repository.known(mxc)
        if media is None or media.digest is None or not media.content_type.startswith("image/"):
            return
        # With one come all, unless something keeps one from it.
        for wanted in USUAL:
            await self._thumbnails.of(media, wanted)
