"""The database as the rest of the server sees it: transactions, and functions that run in one.

A storage function is `async def f(tx, …)`; it awaits nothing but its transaction, so that nothing slow can sit inside
an open one.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterable, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar

import structlog
import trio

from tricord.homeserver.storage.connection import Connection, Record
from tricord.homeserver.storage.errors import DatabaseUnavailable, SchemaChanged, SerializationFailure
from tricord.homeserver.storage.pool import Pool

__all__ = ["Database", "Record", "Transaction", "open_database"]

P = ParamSpec("P")
T = TypeVar("T")

_log = structlog.get_logger(__name__)


class Transaction:
    """What a storage function may do. Raises DatabaseError and its kin."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def fetch(self, sql: str, *args: Any) -> list[Record]:
        """Run a statement and return its rows."""
        return await self._connection.fetch(sql, *args)

    async def fetchrow(self, sql: str, *args: Any) -> Record | None:
        """Run a statement and return its first row, or None."""
        return await self._connection.fetchrow(sql, *args)

    async def fetchval(self, sql: str, *args: Any) -> Any:
        """Run a statement and return the first column of its first row, or None."""
        return await self._connection.fetchval(sql, *args)

    async def execute(self, sql: str, *args: Any) -> str:
        """Run a statement and return the server's tag, such as `UPDATE 3`."""
        return await self._connection.execute(sql, *args)

    async def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run a statement once for each row of arguments. Prefer one statement over arrays (`unnest`)."""
        await self._connection.executemany(sql, rows)

    async def copy_records(self, table: str, columns: Sequence[str], records: Iterable[Sequence[Any]]) -> None:
        """Append rows to a table by COPY: the fastest way for thousands."""
        await self._connection.copy_records(table, columns, records)

    async def allow_bitmaps(self) -> None:
        """Let the statements of this transaction use GIN and BRIN indexes, which are read in no other way."""
        await self._connection.execute("SET LOCAL enable_bitmapscan TO on")

    @contextlib.asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """Undo only what is inside if it fails."""
        async with self._connection.transaction():
            yield


class Database:
    """A PostgreSQL database."""

    def __init__(self, url: str, *, connections: int) -> None:
        self._url = url
        self.pool = Pool(url, size=connections)
        self._listeners: dict[str, list[Callable[[str], None]]] = {}

    @contextlib.asynccontextmanager
    async def transaction(self, work: Hashable = None) -> AsyncIterator[Transaction]:
        """Open a transaction; it is committed when the block ends, and rolled back when it raises.

        `work` names what is done in it, for a connection that has done it before.
        """
        async with self.pool.connection(work) as connection, connection.transaction():
            yield Transaction(connection)

    async def run(
        self, function: Callable[Concatenate[Transaction, P], Awaitable[T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a storage function in a transaction of its own and return what it returns, after COMMIT.

        It is run a second time, in another transaction, if it lost against another one, or if the schema was changed
        under its prepared statements.
        """
        try:
            async with self.transaction(_work(function)) as tx:
                return await function(tx, *args, **kwargs)
        except SerializationFailure as failure:
            _tell(function, failure)
            async with self.transaction(_work(function)) as tx:
                return await function(tx, *args, **kwargs)

    async def run_one(
        self, function: Callable[Concatenate[Transaction, P], Awaitable[T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a storage function of one statement, a transaction by itself: two round trips less than `run`."""
        try:
            return await self.read(function, *args, **kwargs)
        except SerializationFailure as failure:
            _tell(function, failure)
            return await self.run(function, *args, **kwargs)

    async def read(
        self, function: Callable[Concatenate[Transaction, P], Awaitable[T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a storage function without BEGIN and COMMIT: each of its statements stands by itself.

        Cheaper by two round trips, and enough for one statement, or for reads that need no common snapshot.
        """
        async with self.pool.connection(_work(function)) as connection:
            return await function(Transaction(connection), *args, **kwargs)

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncIterator[Transaction]:
        """Open a connection apart from the pool: for locks that last as long as it does."""
        connection = await Connection.open(self._url, application_name="tricord session")
        try:
            yield Transaction(connection)
        finally:
            connection.terminate()

    async def notify(self, channel: str, payload: str) -> None:
        """Tell every process that listens; the payload is below 8,000 bytes."""
        async with self.pool.connection() as connection:
            await connection.execute("SELECT pg_notify($1, $2)", channel, payload)

    def listen(self, channel: str, callback: Callable[[str], None]) -> None:
        """Call `callback` with each payload sent to the channel, and with "" after a gap, when some may be missing.

        Call it before `run_listeners` starts.
        """
        self._listeners.setdefault(channel, []).append(callback)

    async def run_listeners(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take in notifications for ever, over a connection of its own that is opened again when it breaks."""
        pause = 0.1
        while True:
            try:
                connection = await Connection.open(self._url, application_name="tricord listener")
                try:
                    for channel, callbacks in self._listeners.items():
                        for callback in callbacks:
                            await connection.listen(channel, callback)
                    if pause > 0.1:
                        self._tell_of_a_gap()
                    pause = 0.1
                    task_status.started()
                    task_status = trio.TASK_STATUS_IGNORED
                    await connection.notifications()
                finally:
                    connection.terminate()
            except DatabaseUnavailable as error:
                _log.warning("notifications are interrupted", reason=str(error))
                pause = min(max(pause, 0.1) * 2, 10)
                await trio.sleep(pause)

    def _tell_of_a_gap(self) -> None:
        for callbacks in self._listeners.values():
            for callback in callbacks:
                callback("")

    async def aclose(self) -> None:
        """Close the pool."""
        await self.pool.aclose()


def _tell(function: Callable[..., object], failure: SerializationFailure) -> None:
    if not isinstance(failure, SchemaChanged):
        # Rows are locked in one order everywhere, so this should never be; but nobody's request need fail of it.
        _log.warning("a transaction is run again", function=repr(function), reason=str(failure))


def _work(function: Callable[..., object]) -> Hashable:
    """Return what stands for the statements of a function: its code, since a function within another is ever new."""
    return getattr(function, "__code__", None)


@contextlib.asynccontextmanager
async def open_database(url: str, *, connections: int = 12) -> AsyncIterator[Database]:
    """Open a database by its `postgresql://` URL; connections are made as they are needed."""
    database = Database(url, connections=connections)
    try:
        yield database
    finally:
        with trio.CancelScope(shield=True):
            await database.aclose()
