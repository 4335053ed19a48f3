"""One connection to PostgreSQL, as trio wants it: any await may be cancelled, and the connection stays clean."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Any, Self, TypeAlias, TypeVar

import asyncpg
import trio
from asyncpg import connect_utils

from tricord.homeserver.storage.asyncpg_on_trio import (
    PATIENCE_SECONDS,
    DrivenConnection,
    DrivenProtocol,
    Link,
    with_checkpoints,
)
from tricord.homeserver.storage.errors import (
    DatabaseError,
    DatabaseUnavailable,
    SchemaChanged,
    SerializationFailure,
    UniqueViolation,
)
from tricord.homeserver.storage.sockets import Address, dial

# A row, by names and by numbers; asyncpg is not typed.
Record: TypeAlias = Any
T = TypeVar("T")

# How long one address may take to answer.
CONNECT_SECONDS = 10.0

# https://www.postgresql.org/docs/current/errcodes-appendix.html
_UNAVAILABLE = {
    "25006": "read only, as a replica is",
    "25P03": "idle in transaction for too long",
    "53100": "disk full",
    "53200": "out of memory",
    "53300": "too many connections",
    "57P01": "admin shutdown",
    "57P02": "crash shutdown",
    "57P03": "cannot connect now",
    "57P04": "database dropped",
    "57P05": "idle for too long",
}
# Plans are kept as long as a connection. One that was made while a table was small would read all of it, however large
# it becomes meanwhile, until PostgreSQL has counted it anew; so no statement reads a whole table where there is an
# index. Where there is none, PostgreSQL before 18 takes that for so much work that it would compile the statement.
# Likewise, for a page of a room's history it would read all of that and sort it, not what comes first in the index.
_PLANNED = "SET enable_seqscan = off; SET enable_bitmapscan = off; SET jit = off"
_FAILURES = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
_MAY_RUN_AGAIN = {"40001": "serialization failure", "40P01": "deadlock detected"}


class Connection:
    """A connection to PostgreSQL. One task uses it at a time. Raises DatabaseError and its kin."""

    def __init__(self, connection: DrivenConnection, link: Link) -> None:
        self._connection = connection
        self._link = link
        self._depth = 0
        self._heard: list[tuple[Callable[[str], None], str]] = []

    @classmethod
    async def open(cls, url: str, *, application_name: str = "tricord") -> Self:
        """Connect to the first address of a `postgresql://` URL that answers, and is what the URL asks for."""
        try:
            addresses, params, config = connect_utils._parse_connect_arguments(  # noqa: SLF001
                dsn=url, host=None, port=None, user=None, password=None, passfile=None, database=None,
                command_timeout=None, statement_cache_size=500, max_cached_statement_lifetime=0,
                max_cacheable_statement_size=15 * 1024, ssl=None, direct_tls=None,
                server_settings={"application_name": application_name}, target_session_attrs=None,
                krbsrvname=None, gsslib=None, service=None, servicefile=None,
            )  # fmt: skip
        except (ValueError, OSError, asyncpg.InterfaceError) as error:
            raise DatabaseError(f"the database URL is not right: {error}") from error
        failure = DatabaseUnavailable("the database URL names no address")
        for address in addresses:
            try:
                with trio.fail_after(CONNECT_SECONDS):
                    return await cls._open_at(address, params, config)
            except trio.TooSlowError:
                failure = DatabaseUnavailable(f"{_name(address)} did not answer within {CONNECT_SECONDS:.0f} s")
            except DatabaseUnavailable as error:
                failure = error
        raise failure

    @classmethod
    @trio.lowlevel.enable_ki_protection
    async def _open_at(cls, address: Address, params: Any, config: Any) -> Self:
        try:
            sock, tls = await dial(address, params)
        except OSError as error:
            raise _translated(error) from error
        link = Link(sock, tls)
        established = link.create_future()
        link.protocol = DrivenProtocol(address, established, params, asyncpg.Record, link)
        try:
            link.protocol.connection_made(link)
            await link.established(established)
            driven = DrivenConnection(link, address, config, params)
            wanted = params.target_session_attrs
            if not await connect_utils.target_attrs_check[wanted](driven):
                raise DatabaseUnavailable(f"{_name(address)} is not what the URL asks for ({wanted.value})")
            # Not with the first message, in which poolers let nothing pass that they do not know.
            await driven.execute(_PLANNED)
        except BaseException as error:
            link.lost(None)
            if isinstance(error, Exception) and not isinstance(error, DatabaseError):
                raise _translated(error) from error
            raise
        return cls(driven, link)

    @property
    def is_usable(self) -> bool:
        """Whether the connection is open and idle, and the server has not gone away meanwhile."""
        return not self._connection.is_closed() and not self._link.is_stale()

    @property
    def is_closed(self) -> bool:
        """Whether the connection is gone."""
        return bool(self._connection.is_closed())

    @property
    def is_in_transaction(self) -> bool:
        """Whether a transaction is open, by the server's own last word."""
        return not self.is_closed and bool(self._connection._protocol.is_in_transaction())  # noqa: SLF001

    async def fetch(self, sql: str, *args: Any) -> list[Record]:
        """Run a statement and return its rows."""
        rows: list[Record] = await self._run(self._connection.fetch(sql, *args))
        return rows

    async def fetchrow(self, sql: str, *args: Any) -> Record | None:
        """Run a statement and return its first row, or None."""
        return await self._run(self._connection.fetchrow(sql, *args))

    async def fetchval(self, sql: str, *args: Any) -> Any:
        """Run a statement and return the first column of its first row, or None."""
        return await self._run(self._connection.fetchval(sql, *args))

    async def execute(self, sql: str, *args: Any) -> str:
        """Run a statement (several, separated by semicolons, if there are no arguments); return the server's tag."""
        tag: str = await self._run(self._connection.execute(sql, *args))
        return tag

    async def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run a statement once for each row of arguments; all or nothing."""
        await self._run(with_checkpoints(self._connection.executemany(sql, rows)))

    async def copy_records(self, table: str, columns: Sequence[str], records: Iterable[Sequence[Any]]) -> None:
        """Append rows to a table by COPY."""
        await self._run(
            with_checkpoints(self._connection.copy_records_to_table(table, columns=list(columns), records=records))
        )

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """Open a transaction, or a savepoint inside one; its end is shielded.

        asyncpg's own would await its ROLLBACK inside the cancelled scope, which leaves the transaction open.
        """
        savepoint = f"s{self._depth}" if self.is_in_transaction else None
        await self.execute("BEGIN" if savepoint is None else f"SAVEPOINT {savepoint}")
        self._depth += 1
        try:
            try:
                yield
            except BaseException:
                await self.roll_back(savepoint)
                raise
            # The outcome of a COMMIT that was cancelled half-way would not be known.
            with trio.CancelScope(shield=True):
                tag = await self.execute("COMMIT" if savepoint is None else f"RELEASE SAVEPOINT {savepoint}")
            if tag == "ROLLBACK":
                # So PostgreSQL answers a COMMIT after a statement that failed, even if the caller ignored the failure.
                raise DatabaseError("a statement of this transaction had failed: nothing of it was kept")
        finally:
            self._depth -= 1

    async def roll_back(self, savepoint: str | None = None) -> None:
        """Undo what is open, shielded; a connection on which that fails is closed."""
        if not self.is_in_transaction:
            return
        undo = "ROLLBACK" if savepoint is None else f"ROLLBACK TO SAVEPOINT {savepoint}; RELEASE SAVEPOINT {savepoint}"
        with trio.move_on_after(PATIENCE_SECONDS, shield=True) as patience:
            try:
                await self.execute(undo)
            except DatabaseError:
                # Nothing of it was committed; a connection in an unknown state is of no use.
                self.terminate()
        if patience.cancelled_caught:
            self.terminate()

    async def listen(self, channel: str, callback: Callable[[str], None]) -> None:
        """Call `callback` with the payload of each notification, while `notifications()` runs."""
        # Only noted while bytes are parsed, where an exception would be taken for the protocol's.
        await self._run(
            self._connection.add_listener(
                channel, lambda _c, _pid, _ch, payload: self._heard.append((callback, payload))
            )
        )

    async def notifications(self) -> None:
        """Take in notifications until the connection is lost; then raises DatabaseUnavailable."""
        while not self.is_closed:
            await self._link.something()
            heard, self._heard = self._heard, []
            for callback, payload in heard:
                callback(payload)
        raise DatabaseUnavailable("the connection for notifications was lost")

    async def aclose(self) -> None:
        """Say goodbye and close."""
        self.terminate()
        await trio.lowlevel.checkpoint()

    @trio.lowlevel.enable_ki_protection
    def terminate(self) -> None:
        """Close at once."""
        if not self.is_closed:
            self._connection.terminate()

    @trio.lowlevel.enable_ki_protection
    async def _run(self, operation: Awaitable[T]) -> T:
        try:
            return await operation
        except _FAILURES as error:
            # Only the server's own messages have a severity: asyncpg raises some in its name.
            if getattr(error, "severity", None) is None:
                await self._end_what_was_begun()
            raise _translated(error) from error
        except Exception:
            # The caller's own, from an iterable of rows.
            await self._end_what_was_begun()
            raise

    async def _end_what_was_begun(self) -> None:
        """Make an end where asyncpg stopped in the middle of an exchange: arguments, say, that could not be encoded.

        The server would otherwise stay in the transaction that a Parse without Sync begins, with its locks on tables.
        """
        if not self.is_closed:
            await self._link.settle()
        if not self.is_closed and not self.is_in_transaction:
            with trio.move_on_after(PATIENCE_SECONDS, shield=True) as patience:
                try:
                    await self._connection.execute("SELECT")
                except _FAILURES:
                    self.terminate()
            if patience.cancelled_caught:
                self.terminate()


def _translated(error: Exception) -> DatabaseError:
    """Return asyncpg's exception in our words."""
    if isinstance(error, asyncpg.UniqueViolationError):
        return UniqueViolation(str(error), constraint=error.constraint_name or "")
    if isinstance(error, (asyncpg.InvalidCachedStatementError, asyncpg.OutdatedSchemaCacheError)):
        return SchemaChanged(str(error), sqlstate=getattr(error, "sqlstate", None))
    if isinstance(error, asyncpg.PostgresError):
        kind = DatabaseError
        if error.sqlstate in _MAY_RUN_AGAIN:
            kind = SerializationFailure
        elif error.sqlstate in _UNAVAILABLE or isinstance(error, asyncpg.PostgresConnectionError):
            kind = DatabaseUnavailable
        return kind(str(error), sqlstate=error.sqlstate)
    if isinstance(error, asyncpg.InterfaceError) and "closed" not in str(error):
        return DatabaseError(str(error))
    if isinstance(error, OSError):
        return DatabaseUnavailable(f"the database cannot be reached: {error}")
    return DatabaseUnavailable(str(error))


def _name(address: Address) -> str:
    return address if isinstance(address, str) else f"{address[0]}:{address[1]}"
