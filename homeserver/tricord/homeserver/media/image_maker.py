"""Runs the program that makes small images, a few at a time, and ends it when it takes too long."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

import structlog
import trio

from tricord.homeserver.media.settings import ThumbnailSettings
from tricord.homeserver.media.thumbnail_worker import Outcome
from tricord.protocol.errors import Unavailable

_log = structlog.get_logger(__name__)

_WORKER = Path(__file__).with_name("thumbnail_worker.py")
_MOST_FRAMES = 1000
_MEMORY_BYTES = 1 << 30
_LONGEST_OUTPUT = 16 << 20
_MOST_WAITING = 200
_READ = 65_536


class NoImage(Exception):
    """The bytes are no image of the four formats, or a broken one."""


class ImageTooLarge(Exception):
    """The image would take more memory or time than one may."""


class ImageMaker:
    """Makes small images. Nothing of a foreign image is decoded in this process."""

    def __init__(self, settings: ThumbnailSettings) -> None:
        self._settings = settings
        self._limiter = trio.CapacityLimiter(settings.concurrent)

    async def make(
        self, parts: AsyncIterator[bytes], method: Literal["crop", "scale"], width: int, height: int, *, animated: bool
    ) -> bytes | None:
        """Return a small image; None if the original is small enough itself.

        Raises NoImage, ImageTooLarge, and Unavailable when too many wait already.
        """
        if self._limiter.statistics().tasks_waiting >= _MOST_WAITING:
            raise Unavailable("the server is busy making thumbnails, try again later")
        settings = self._settings
        numbers = (
            *(width, height, int(animated), settings.max_pixels, _MOST_FRAMES, settings.max_source_bytes),
            *(_MEMORY_BYTES, settings.cpu_seconds),
        )
        # -I: nothing of the environment or of the working directory is imported.
        command = [sys.executable, "-I", str(_WORKER), method, *map(str, numbers)]
        async with self._limiter:
            with trio.move_on_after(settings.cpu_seconds + settings.patience_seconds):
                status, output = await _run(command, parts)
                return _judged(status, output)
        raise ImageTooLarge


def _judged(status: int, output: bytes) -> bytes | None:
    if status == Outcome.MADE and output:
        return output
    if status == Outcome.SMALL_ENOUGH:
        return None
    # Killed by a limit: of time (SIGXCPU, SIGKILL) or, as some libraries take it, of memory (SIGSEGV, SIGABRT).
    if status == Outcome.TOO_LARGE or status < 0:
        raise ImageTooLarge
    if status != Outcome.NO_IMAGE:
        _log.error("no thumbnail can be made; is Pillow installed?", status=status)
    raise NoImage


async def _run(command: list[str], parts: AsyncIterator[bytes]) -> tuple[int, bytes]:
    """Feed a process, and return its status and output. It does not outlive this."""
    process = await trio.lowlevel.open_process(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={}, cwd="/"
    )
    assert process.stdin is not None  # noqa: S101  # both are pipes
    assert process.stdout is not None  # noqa: S101
    output = bytearray()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_feed, process.stdin, parts)
            async with process.stdout:
                while data := await process.stdout.receive_some(_READ):
                    output += data
                    if len(output) > _LONGEST_OUTPUT:
                        raise ImageTooLarge
            # It has ended; whatever it has not read, it does not need.
            nursery.cancel_scope.cancel()
        return await process.wait(), bytes(output)
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


async def _feed(stdin: trio.abc.SendStream, parts: AsyncIterator[bytes]) -> None:
    async with stdin:
        try:
            async for part in parts:
                await stdin.send_all(part)
        except trio.BrokenResourceError:
            pass  # it knows enough
