"""Connections kept open, the most recently used first; those that nobody has needed for some minutes are closed.

PostgreSQL parses and plans a statement anew in each connection: for the large ones that takes 5 to 15 ms, many times
what they take afterwards. So work goes to a connection that has done the like of it before, if one is free.

Nothing is sent on release: what a transaction leaves behind is known from the protocol, and the application leaves no
session state. A query to reset it would cost a round trip each time.

Where PostgreSQL allows fewer connections than that, the pool is smaller for a while.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Hashable
from dataclasses import dataclass, field

import structlog
import trio

from tricord.homeserver.storage.connection import Connection
from tricord.homeserver.storage.errors import DatabaseUnavailable, SchemaChanged

_TOO_MANY_CONNECTIONS = "53300"
# Each keeps the statements that it has prepared, here and in PostgreSQL.
_UNUSED_MINUTES = 10
_LEAST_KEPT = 2

_logger = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False)
class _Pooled:
    """A connection, and what is known of it."""

    connection: Connection
    schema: int
    """How many changes of the schema had been noticed when it was opened."""
    done: set[Hashable] = field(default_factory=set)
    """The work that has been done with it."""
    came_back: int = 0
    """The minute in which it was last given back."""


class Pool:
    """At most `size` connections to one URL. Who finds none free waits, in order of arrival."""

    def __init__(self, url: str, *, size: int) -> None:
        self._url = url
        self._size = size
        self._free: list[_Pooled] = []
        self._minute = 0
        # Counts the changes of the schema that were noticed.
        self._schema = 0
        self._slots = trio.Semaphore(size)
        # Slots that nobody has and nobody gets: there is no connection for them.
        self._withheld = 0
        self._closed = False

    @property
    def in_use(self) -> int:
        """How many connections are lent out."""
        return self._size - self._withheld - self._slots.value

    @property
    def idle(self) -> int:
        """How many connections wait to be used."""
        return len(self._free)

    @property
    def waiting(self) -> int:
        """How many tasks wait for a connection."""
        return self._slots.statistics().tasks_waiting

    @contextlib.asynccontextmanager
    async def connection(self, work: Hashable = None) -> AsyncIterator[Connection]:
        """Lend a connection, preferably one that has done this work before; there are few different ones.

        Raises DatabaseUnavailable when none can be opened.
        """
        pooled = await self._taken(work)
        try:
            pooled.done.add(work)
            try:
                yield pooled.connection
            except SchemaChanged:
                self._outdate(pooled)
                raise
            finally:
                await self._take_back(pooled)
        finally:
            self._slots.release()

    def let_go(self) -> None:
        """Close connections that nobody has needed for some minutes, and try again to have all; called every minute."""
        while self._withheld:
            self._withheld -= 1
            self._slots.release()
        self._minute += 1
        # Whichever came back last is the last.
        for pooled in self._free[:-_LEAST_KEPT]:
            if pooled.came_back > self._minute - _UNUSED_MINUTES:
                break
            self._free.remove(pooled)
            pooled.connection.terminate()

    def _outdate(self, pooled: _Pooled) -> None:
        """Use no connection any more that has prepared statements from before the schema changed."""
        if pooled.schema == self._schema:
            self._schema += 1
            while self._free:
                self._free.pop().connection.terminate()

    async def _taken(self, work: Hashable) -> _Pooled:
        """Take a slot, and a connection that is free or new."""
        while True:
            try:
                # Without a turn of the scheduler, which the query takes anyway.
                await trio.lowlevel.checkpoint_if_cancelled()
                self._slots.acquire_nowait()
            except trio.WouldBlock:
                await self._slots.acquire()
            pooled = self._take_usable(work) or await self._opened()
            if pooled is not None:
                return pooled

    async def _opened(self) -> _Pooled | None:
        """Open a connection for a slot that has been taken; None if it has to wait for one that others have."""
        with contextlib.ExitStack() as undo:
            undo.callback(self._slots.release)
            try:
                pooled: _Pooled | None = _Pooled(await Connection.open(self._url), self._schema)
            except DatabaseUnavailable as error:
                if error.sqlstate != _TOO_MANY_CONNECTIONS or self.in_use == 1:
                    raise
                pooled = None
                self._withhold_slot()
            undo.pop_all()
        return pooled

    def _withhold_slot(self) -> None:
        if not self._withheld:
            _logger.warning("PostgreSQL allows no more connections", used=self.in_use - 1, wanted=self._size)
        self._withheld += 1

    def _take_usable(self, work: Hashable) -> _Pooled | None:
        while self._free:
            last = len(self._free) - 1
            number = next((n for n in range(last, -1, -1) if work in self._free[n].done), last)
            pooled = self._free.pop(number)
            # The server may have been restarted since.
            if pooled.connection.is_usable:
                return pooled
            pooled.connection.terminate()
        return None

    async def _take_back(self, pooled: _Pooled) -> None:
        await pooled.connection.roll_back()
        if self._closed or pooled.schema != self._schema:
            pooled.connection.terminate()
        elif not pooled.connection.is_closed:
            pooled.came_back = self._minute
            self._free.append(pooled)

    async def aclose(self) -> None:
        """Close what is free now, and what is lent out when it comes back."""
        self._closed = True
        while self._free:
            await self._free.pop().connection.aclose()
