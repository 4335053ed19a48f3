"""Waiting for media that was announced, in whichever process it is uploaded."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from tricord.homeserver.storage.database import Database
from tricord.protocol.media import Mxc

T = TypeVar("T")

_CHANNEL = "media_arrived"


class Arrivals:
    """Wakes those who wait for media."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # How many wait for each, and what wakes them.
        self._waiting: dict[str, tuple[trio.Event, int]] = {}
        database.listen(_CHANNEL, self._wake)

    async def announce(self, mxc: Mxc) -> None:
        """Say that some media has come."""
        await self._database.notify(_CHANNEL, mxc.media_id)

    async def wait(self, mxc: Mxc, seconds: float, look: Callable[[], Awaitable[T | None]]) -> T | None:
        """Return what `look` finds, now or as soon as media of that name has come; None after some seconds."""
        found = None
        with trio.move_on_after(seconds):
            while True:
                event, waiting = self._waiting.get(mxc.media_id, (trio.Event(), 0))
                self._waiting[mxc.media_id] = event, waiting + 1
                try:
                    # After it is waited for, so that what comes meanwhile is not missed.
                    found = await look()
                    if found is not None:
                        break
                    await event.wait()
                finally:
                    self._leave(mxc.media_id, event)
        return found

    def _leave(self, media_id: str, event: trio.Event) -> None:
        left = self._waiting.get(media_id)
        if left is None or left[0] is not event:
            return  # it has been set, and forgotten
        if left[1] == 1:
            del self._waiting[media_id]
        else:
            self._waiting[media_id] = event, left[1] - 1

    def _wake(self, media_id: str) -> None:
        """Wake who waits for some media; after a gap ("") everybody, since anything may have come in it."""
        for each in [media_id] if media_id else list(self._waiting):
            if (waiting := self._waiting.pop(each, None)) is not None:
                waiting[0].set()
