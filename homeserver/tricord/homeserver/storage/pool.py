"""Connections kept open, the most recently used first; those that nobody has needed for some minutes are closed.

PostgreSQL parses and plans a statement anew in each connection: for the large ones that takes 5 to 15 ms, many times
what they take afterwards. So work goes to a connection that has done the like of it before, if one is free.

Nothing is sent on release: what a transaction leaves behind is known from the protocol, and the application leaves no
session state. A query to reset it would cost a round trip each time.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import AsyncIterator, Hashable
from dataclasses import dataclass, field

import trio

from tricord.homeserver.storage.connection import Connection
from tricord.homeserver.storage.errors import SchemaChanged

# Each keeps the statements that it has prepared, here and in PostgreSQL.
_UNUSED_MINUTES = 10
_LEAST_KEPT = 2


@dataclass(slots=True)
class _Known:
    """What is known of a connection."""

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
        self._free: list[Connection] = []
        self._known: weakref.WeakKeyDictionary[Connection, _Known] = weakref.WeakKeyDictionary()
        self._minute = 0
        # Counts the changes of the schema that were noticed.
        self._schema = 0
        self._slots = trio.CapacityLimiter(size)
        self._closed = False

    @property
    def in_use(self) -> int:
        """How many connections are lent out."""
        return int(self._slots.borrowed_tokens)

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
        # A slot belongs to this use, not to the task: a task may hold several.
        holder = object()
        try:
            # Without a turn of the scheduler, which the query takes anyway.
            await trio.lowlevel.checkpoint_if_cancelled()
            self._slots.acquire_on_behalf_of_nowait(holder)
        except trio.WouldBlock:
            await self._slots.acquire_on_behalf_of(holder)
        try:
            connection = self._take_usable(work)
            if connection is None:
                connection = await Connection.open(self._url)
                self._known[connection] = _Known(self._schema)
            self._known[connection].done.add(work)
            try:
                yield connection
            except SchemaChanged:
                self._outdate(connection)
                raise
            finally:
                await self._take_back(connection)
        finally:
            self._slots.release_on_behalf_of(holder)

    def let_go(self) -> None:
        """Close connections that nobody has needed for some minutes; called every minute."""
        self._minute += 1
        # Whichever came back last is the last.
        for connection in self._free[:-_LEAST_KEPT]:
            if self._known[connection].came_back > self._minute - _UNUSED_MINUTES:
                break
            self._free.remove(connection)
            connection.terminate()

    def _outdate(self, connection: Connection) -> None:
        """Use no connection any more that has prepared statements from before the schema changed."""
        if self._known[connection].schema == self._schema:
            self._schema += 1
            while self._free:
                self._free.pop().terminate()

    def _take_usable(self, work: Hashable) -> Connection | None:
        while self._free:
            last = len(self._free) - 1
            number = next((n for n in range(last, -1, -1) if work in self._known[self._free[n]].done), last)
            connection = self._free.pop(number)
            # The server may have been restarted since.
            if connection.is_usable:
                return connection
            connection.terminate()
        return None

    async def _take_back(self, connection: Connection) -> None:
        await connection.roll_back()
        if self._closed or self._known[connection].schema != self._schema:
            connection.terminate()
        elif not connection.is_closed:
            self._known[connection].came_back = self._minute
            self._free.append(connection)

    async def aclose(self) -> None:
        """Close what is free now, and what is lent out when it comes back."""
        self._closed = True
        while self._free:
            await self._free.pop().aclose()
