"""One process at a time at what all of them would do alike: fetching a file, making small images of it.

Whoever is at a thing holds an advisory lock, on a connection kept for that, so whatever ends a process lets go of the
thing. The others look now and then whether it is done. After some patience they do it as well: that wastes time, and
harms nothing.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

import structlog
import trio

from tricord.homeserver.storage.database import Database, Transaction
from tricord.homeserver.storage.errors import DatabaseError
from tricord.homeserver.storage.leases import end_leases, try_leases

_log = structlog.get_logger(__name__)

_LEASE_KIND = 0x3ED1A
_LOOK_AGAIN_SECONDS = 0.1
_ANSWER_SECONDS = 5

T = TypeVar("T")


class SingleHand:
    """The things that this process is at. Within the process, callers see to it themselves that they come in turns."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._asking = trio.Lock()
        self._kept = contextlib.AsyncExitStack()
        self._session: Transaction | None = None

    @contextlib.asynccontextmanager
    async def at(
        self, thing: str, look: Callable[[], Awaitable[T | None]], patience_seconds: float
    ) -> AsyncIterator[T | None]:
        """Give what `look` finds if a thing has been done; None if it is left to do inside the block."""
        part = zlib.crc32(thing.encode()) >> 1
        until = trio.current_time() + patience_seconds
        taken = await self._take(part)
        try:
            # Always once: it may have been done just before it was let go.
            while (found := await look()) is None and not taken and trio.current_time() < until:
                await trio.sleep(_LOOK_AGAIN_SECONDS)
                taken = await self._take(part)
            yield found
        finally:
            if taken and self._session is not None:
                await self._ask(lambda session: end_leases(session, _LEASE_KIND, [part]))

    async def aclose(self) -> None:
        """Let go of everything."""
        self._session = None
        await self._kept.aclose()

    async def _take(self, part: int) -> bool:
        taken = await self._ask(lambda session: try_leases(session, _LEASE_KIND, [part]))
        # If PostgreSQL cannot be asked, nobody needs to wait for anybody.
        return taken is None or part in taken

    async def _ask(self, question: Callable[[Transaction], Awaitable[T]]) -> T | None:
        """Return PostgreSQL's answer; None if there is none, and then nothing is held any more."""
        # What is asked and not heard might be held for ever.
        with trio.CancelScope(shield=True):
            async with self._asking:
                try:
                    with trio.fail_after(_ANSWER_SECONDS):
                        if self._session is None:
                            self._session = await self._kept.enter_async_context(self._database.session())
                        return await question(self._session)
                except (DatabaseError, trio.TooSlowError) as error:
                    _log.warning("work may be done by several processes at once", reason=str(error))
                    await self.aclose()
        return None
