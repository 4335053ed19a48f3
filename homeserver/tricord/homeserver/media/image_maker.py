"""Runs the program that makes small images, a few at a time, and ends it when it takes too long."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import structlog
import trio

from tricord.homeserver.media.confined import TooMuchOutput
from tricord.homeserver.media.settings import ThumbnailSettings
from tricord.homeserver.media.thumbnail_worker import RECORD, Outcome, Size
from tricord.homeserver.media.warm import WarmScript
from tricord.protocol.errors import Unavailable

_log = structlog.get_logger(__name__)

_WORKER = Path(__file__).with_name("thumbnail_worker.py")
_MOST_FRAMES = 1000
_MEMORY_BYTES = 1 << 30
_LONGEST_OUTPUT = 16 << 20
_MOST_WAITING = 200


class NoImage(Exception):
    """The bytes are no image of the four formats, or a broken one."""


class ImageTooLarge(Exception):
    """The image would take more memory or time than one may."""


class ImageMaker:
    """Makes small images. Nothing of a foreign image is decoded in this process."""

    def __init__(self, settings: ThumbnailSettings) -> None:
        self._settings = settings
        self._limiter = trio.CapacityLimiter(settings.concurrent)
        self._worker = WarmScript(_WORKER)

    async def make(
        self, parts: AsyncIterator[bytes], sizes: Sequence[Size], *, animated: bool
    ) -> dict[Size, bytes | None]:
        """Return small images of one image, decoded once; None for sizes for which it is small enough itself.

        Only the first size is sure to be among them. Raises NoImage, ImageTooLarge, and Unavailable when too many wait
        already.
        """
        if self._limiter.statistics().tasks_waiting >= _MOST_WAITING:
            raise Unavailable("the server is busy making thumbnails, try again later")
        settings = self._settings
        words = ",".join(f"{size.method}:{size.width}:{size.height}" for size in sizes)
        numbers = (
            *(int(animated), settings.max_pixels, _MOST_FRAMES, settings.max_source_bytes),
            *(_MEMORY_BYTES, settings.cpu_seconds),
        )
        async with self._limiter:
            with trio.move_on_after(settings.cpu_seconds + settings.patience_seconds):
                try:
                    status, output = await self._worker.run(
                        [words, *map(str, numbers)], parts, max_output=_LONGEST_OUTPUT
                    )
                except TooMuchOutput:
                    raise ImageTooLarge from None
                except OSError as error:
                    _log.error("the program that makes thumbnails cannot be run", reason=str(error))
                    raise Unavailable("the server cannot make thumbnails now, try again later") from error
                return _judged(sizes, status, output)
        raise ImageTooLarge

    async def aclose(self) -> None:
        """End what runs."""
        await self._worker.aclose()


def _judged(sizes: Sequence[Size], status: int, output: bytes) -> dict[Size, bytes | None]:
    made: dict[Size, bytes | None] = {}
    position = 0
    # The last record may have been cut off, and none is to be believed: a foreign image was decoded there.
    while len(output) - position >= RECORD.size:
        number, outcome, length = RECORD.unpack_from(output, position)
        position += RECORD.size
        data = output[position : position + length]
        position += length
        if number >= len(sizes) or len(data) < length:
            break
        if outcome == Outcome.MADE and data:
            made[sizes[number]] = data
        elif outcome == Outcome.SMALL_ENOUGH:
            made[sizes[number]] = None
        elif number == 0:
            status = outcome
    if sizes[0] not in made:
        raise _failure(status)
    return made


def _failure(status: int) -> Exception:
    # Killed by a limit: of time (SIGXCPU, SIGKILL) or, as some libraries take it, of memory (SIGSEGV, SIGABRT).
    if status == Outcome.TOO_LARGE or status < 0:
        return ImageTooLarge()
    if status != Outcome.NO_IMAGE:
        _log.error("no thumbnail can be made; is Pillow installed?", status=status)
    return NoImage()
