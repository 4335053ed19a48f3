"""What a second pair of eyes sees of a database: who is connected, who runs what, who holds which lock."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio

from tricord.homeserver.storage.connection import Connection


class Watcher:
    """Looks at one database over a connection of its own, which it does not count."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def sessions(self, state: str = "%") -> int:
        """How many others are connected, in states that match."""
        return await self._count(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
            "AND backend_type = 'client backend' AND state LIKE $1",
            state,
        )

    async def running(self, part: str) -> int:
        """How many others run a query with this part."""
        return await self._count(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
            "AND state = 'active' AND query LIKE '%' || $1::text || '%'",
            part,
        )

    async def waiting(self) -> int:
        """How many others wait for a lock."""
        return await self._count(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
            "AND wait_event_type = 'Lock'"
        )

    async def locks(self) -> int:
        """How many locks on this database's tables others hold or wait for."""
        return await self._count(
            "SELECT count(*) FROM pg_locks WHERE pid <> pg_backend_pid() AND locktype <> 'virtualxid' "
            "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )

    async def terminate_others(self) -> None:
        """End everybody else's connection to this database."""
        await self._connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )

    async def _count(self, sql: str, *args: object) -> int:
        count: int = await self._connection.fetchval(sql, *args)
        return count


@asynccontextmanager
async def watching(url: str) -> AsyncIterator[Watcher]:
    """Connect a watcher."""
    connection = await Connection.open(url, application_name="watcher")
    try:
        yield Watcher(connection)
    finally:
        connection.terminate()


async def becomes(count: Callable[[], Awaitable[int]], expected: int) -> None:
    """Wait until a count is what is expected; the server's own tables lag a little."""
    with trio.fail_after(60):
        while await count() != expected:  # noqa: ASYNC110  # the server does not tell us
            await trio.sleep(0.005)


class Heard:
    """Takes notifications, and waits for them."""

    def __init__(self) -> None:
        self.payloads: list[str] = []
        self.too: list[str] = []
        self._changed = trio.Event()

    def take(self, payload: str) -> None:
        self.payloads.append(payload)
        self._changed.set()

    def take_too(self, payload: str) -> None:
        self.too.append(payload)

    async def holds(self, *payloads: str) -> None:
        """Wait until exactly these have come."""
        with trio.fail_after(60):
            while self.payloads != list(payloads):
                self._changed = trio.Event()
                await self._changed.wait()
