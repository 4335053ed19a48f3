"""One connection to PostgreSQL: asyncpg's wire protocol, driven by trio with no asyncio loop anywhere.

asyncpg's protocol class does no I/O of its own. From asyncio it wants a loop that makes futures and a transport to
write to; `_Link` is both, and gives it trio's. The task that awaits a reply reads the socket itself, so that nothing is
handed over between tasks.

Cancellation: when trio cancels a query, the server is told (CancelRequest) and its answer is drained up to
ReadyForQuery before `Cancelled` leaves the frame, so that the connection is clean for the next user. Where that takes
too long, the connection is dropped.

Time is trio's: asyncpg's own time-outs, which need an asyncio loop, are refused.
"""

from __future__ import annotations

import asyncio  # noqa: TID251  # only the names of exceptions that asyncpg expects
import collections
import contextlib
import functools
import socket
import ssl
import struct
import types
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable, Sequence
from typing import Any, Self, TypeAlias

import asyncpg
import asyncpg.compat
import trio
from asyncpg import connect_utils
from asyncpg.connection import Connection as _AsyncpgConnection
from asyncpg.protocol.protocol import Protocol as _AsyncpgProtocol

from tricord.homeserver.storage.errors import (
    DatabaseError,
    DatabaseUnavailable,
    SerializationFailure,
    UniqueViolation,
)

# The private parts used here were tried with these versions; the tests hold a canary for the next.
TESTED_ASYNCPG = "0.32."
if not asyncpg.__version__.startswith(TESTED_ASYNCPG):
    raise ImportError(f"asyncpg {asyncpg.__version__} is installed; Tricord drives asyncpg {TESTED_ASYNCPG}* only")

# A row, by names and by numbers; asyncpg is not typed.
Record: TypeAlias = Any
Address = str | tuple[str, int]

# How long the server may take to acknowledge a cancelled query, or the end of a transaction.
PATIENCE_SECONDS = 5.0
_CANCEL_REQUEST = 80877102
_SSL_REQUEST = 80877103
_RECEIVE = 1 << 16


class _Future:
    """What asyncpg calls a waiter. Awaiting it reads the socket until it is done."""

    __slots__ = ("_callbacks", "_exception", "_link", "_result", "_state")

    # Makes `asyncio.isfuture()` say yes; no asyncio loop ever sees it.
    _asyncio_future_blocking = False

    def __init__(self, link: _Link) -> None:
        self._link = link
        self._state = "pending"
        self._result: Any = None
        self._exception: BaseException | None = None
        self._callbacks: list[Callable[[_Future], None]] = []

    def done(self) -> bool:
        return self._state != "pending"

    def cancelled(self) -> bool:
        return self._state == "cancelled"

    def exception(self) -> BaseException | None:
        return self._exception

    def add_done_callback(self, callback: Callable[[_Future], None], context: object = None) -> None:
        del context
        if self.done():
            callback(self)
        else:
            self._callbacks.append(callback)

    def result(self) -> Any:
        if self._exception is not None:
            raise self._exception
        return self._result

    def set_result(self, result: Any) -> None:
        self._result = result
        self._finish("finished")

    def set_exception(self, exception: BaseException | type[BaseException]) -> None:
        self._exception = exception() if isinstance(exception, type) else exception
        self._finish("finished")

    def cancel(self, msg: object = None) -> None:
        del msg
        if not self.done():
            self._finish("cancelled")

    def _finish(self, state: str) -> None:
        if self.done():
            raise asyncio.InvalidStateError
        self._state = state
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(self)

    def __await__(self) -> Generator[Any, Any, Any]:
        if not self.done():
            yield from self._link.reply(self).__await__()
        return self.result()


class _Link:
    """The socket of one connection, as asyncpg's event loop and as its transport."""

    def __init__(self, sock: socket.socket, tls: _Tls | None) -> None:
        self._socket = sock
        self._tls = tls
        self._unsent = bytearray()
        self._closed = False
        self.protocol: _Protocol
        self.connection: _Connection | None = None

    # What asyncpg uses of asyncio.AbstractEventLoop.

    def create_future(self) -> _Future:
        return _Future(self)

    def get_debug(self) -> bool:
        return False

    def is_closed(self) -> bool:
        return False

    def time(self) -> float:
        return trio.current_time()

    def call_soon(self, callback: Callable[..., object], *args: object, context: object = None) -> None:
        del context
        callback(*args)

    def call_later(self, *_args: object) -> None:
        raise RuntimeError("asyncpg's time-outs are not available on trio: use trio.move_on_after")

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        raise RuntimeError(context["message"]) from context.get("exception")

    def create_task(self, coroutine: object) -> None:
        raise RuntimeError(f"{coroutine!r}: listeners are plain functions")

    # What asyncpg uses of asyncio.Transport.

    def get_extra_info(self, name: str, default: object = None) -> object:
        return self._socket if name == "socket" else default

    def is_closing(self) -> bool:
        return self._closed

    def pause_reading(self) -> None:
        """Nothing: we read only while somebody awaits a reply."""

    def resume_reading(self) -> None:
        """Nothing, as above."""

    def writelines(self, buffers: Iterable[bytes]) -> None:
        self.write(b"".join(buffers))

    def write(self, data: bytes) -> None:
        """Send what the socket takes at once; `_until` sends the rest."""
        if self._closed:
            return
        if self._tls is not None:
            data = self._tls.encrypt(data)
        sent = 0
        if not self._unsent:
            try:
                sent = self._socket.send(data)
            except BlockingIOError:
                pass
            except OSError as error:
                self.lost(error)
                return
        if sent < len(data):
            self._unsent += memoryview(data)[sent:]

    def close(self) -> None:
        self.lost(None)

    abort = close

    def lost(self, error: BaseException | None) -> None:
        """Close the socket and fail whatever waits on it."""
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(RuntimeError):  # called by a finalizer after trio has ended
            trio.lowlevel.notify_closing(self._socket)
        self._socket.close()
        self.protocol.connection_lost(error)

    # Reading and writing, by whichever task waits for a reply.

    async def reply(self, future: _Future) -> None:
        """Read until the future is done; when cancelled, leave the connection clean."""
        try:
            await self._until(future.done)
        except trio.Cancelled:
            if not future.done():
                await self._cancel(future)
            raise

    async def _cancel(self, future: _Future) -> None:
        # asyncpg marks the query as cancelled, and asks our connection to tell the server.
        future.cancel()
        connection = self.connection
        if connection is None:
            self.lost(ConnectionError("cancelled while connecting"))
            return
        with trio.move_on_after(PATIENCE_SECONDS, shield=True) as patience:
            await connection.send_cancel_request()
            await self._until(connection.cancelled_query_has_ended)
        if patience.cancelled_caught:
            self.lost(ConnectionError(f"a cancelled query did not end within {PATIENCE_SECONDS:.0f} s"))

    async def until_lost(self) -> None:
        """Read, for what comes unasked (notifications), until the connection is lost."""
        await self._until(lambda: False)

    async def established(self, future: _Future) -> None:
        """Read until the start-up is over; raises what went wrong."""
        await self._until(future.done)
        future.result()

    def is_stale(self) -> bool:
        """Tell whether the server has closed an idle connection, or said something that nobody waits for."""
        if self._closed:
            return True
        try:
            return self._socket.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    async def _until(self, done: Callable[[], bool]) -> None:
        while not done() and not self._closed:
            if self._unsent:
                await self._send_or_receive()
            else:
                await trio.lowlevel.wait_readable(self._socket)
                self._receive()

    def _receive(self) -> None:
        try:
            data = self._socket.recv(_RECEIVE)
        except BlockingIOError:
            return
        except OSError as error:
            self.lost(error)
            return
        try:
            plain = self._tls.decrypt(data) if data and self._tls is not None else data
        except ssl.SSLError as error:
            self.lost(error)
            return
        if not data:
            self.lost(None)
        elif plain:
            self.protocol.data_received(plain)

    async def _send_or_receive(self) -> None:
        """Send the rest of a large message, and read meanwhile: both sides would block otherwise."""
        async with trio.open_nursery() as nursery:

            async def first_of(wait: Callable[[socket.socket], Awaitable[None]]) -> None:
                await wait(self._socket)
                nursery.cancel_scope.cancel()

            nursery.start_soon(first_of, trio.lowlevel.wait_readable)
            nursery.start_soon(first_of, trio.lowlevel.wait_writable)
        try:
            sent = self._socket.send(self._unsent)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self.lost(error)
            return
        del self._unsent[:sent]
        self._receive()


class _Tls:
    """TLS between the socket and the protocol, in memory."""

    def __init__(self, context: ssl.SSLContext, server_hostname: str | None) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_hostname)

    async def handshake(self, stream: trio.SocketStream) -> None:
        while True:
            try:
                self._object.do_handshake()
            except ssl.SSLWantReadError:
                await stream.send_all(self._outgoing.read())
                data = await stream.receive_some(_RECEIVE)
                if not data:
                    raise ConnectionError("the server closed the connection during the TLS handshake") from None
                self._incoming.write(data)
            else:
                await stream.send_all(self._outgoing.read())
                return

    def encrypt(self, data: bytes) -> bytes:
        self._object.write(data)
        return self._outgoing.read()

    def decrypt(self, data: bytes) -> bytes:
        self._incoming.write(data)
        parts = []
        with contextlib.suppress(ssl.SSLWantReadError):
            while part := self._object.read(_RECEIVE):
                parts.append(part)
        return b"".join(parts)


class _Protocol(_AsyncpgProtocol):  # type: ignore[misc]  # asyncpg is not typed
    async def _wait_for_cancellation(self, timeout: float | None = None) -> float | None:  # noqa: ASYNC109
        """Nothing to wait for: a cancelled query has been drained before its task went on."""
        return timeout

    def _is_cancelling(self) -> bool:
        return False


async def _wait_for(awaitable: Awaitable[Any], timeout: float | None) -> Any:  # noqa: ASYNC109
    if timeout is not None:
        raise RuntimeError("asyncpg's time-outs are not available on trio: use trio.move_on_after")
    return await awaitable


# asyncpg looks these up when it calls them, and both would ask for a running asyncio loop.
asyncpg.compat.wait_for = _wait_for
asyncpg.compat.timeout = lambda _seconds: contextlib.nullcontext()


@types.coroutine
def _with_checkpoints(coroutine: Any) -> Generator[Any, Any, Any]:
    """Run a coroutine of asyncpg's that yields to asyncio (`asyncio.sleep(0)`, a bare yield): here, a checkpoint."""
    resume: Callable[[], Any] = functools.partial(coroutine.send, None)
    while True:
        try:
            wanted = resume()
        except StopIteration as end:
            return end.value
        value = None
        try:
            if wanted is None:
                yield from _checkpoint().__await__()
            else:
                value = yield wanted
        except BaseException as error:  # noqa: BLE001  # handed on to the coroutine, which raises it again
            resume = functools.partial(coroutine.throw, error)
        else:
            resume = functools.partial(coroutine.send, value)


async def _checkpoint() -> None:
    await trio.lowlevel.checkpoint()


class _Connection(_AsyncpgConnection):  # type: ignore[misc]  # asyncpg is not typed
    __slots__ = ("_cancel_sent", "_cancel_waiter")

    def _cancel_current_command(self, sent: _Future, waiter: _Future | None = None) -> None:
        self._cancel_sent, self._cancel_waiter = sent, waiter

    def cancelled_query_has_ended(self) -> bool:
        return self._cancel_waiter is None or self._cancel_waiter.done()

    async def send_cancel_request(self) -> None:
        """Ask the server, over a connection of its own, to cancel what this one is doing."""
        try:
            with contextlib.closing(await _open_socket(self._addr)) as sock:
                protocol = self._protocol
                await trio.lowlevel.wait_writable(sock)
                sock.send(struct.pack("!llll", 16, _CANCEL_REQUEST, protocol.backend_pid, protocol.backend_secret))
                # The server closes the connection once the signal is on its way.
                await trio.lowlevel.wait_readable(sock)
        except OSError:
            pass  # then the query ends by itself, or patience does
        finally:
            if not self._cancel_sent.done():
                self._cancel_sent.set_result(None)


async def _open_socket(address: Address) -> socket.socket:
    if isinstance(address, tuple):
        stream = await trio.open_tcp_stream(*address)
        sock = socket.socket(fileno=stream.socket.detach())
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        return sock
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        while True:
            try:
                sock.connect(address)
            except BlockingIOError:
                # The backlog is full. Unlike TCP, AF_UNIX is then *not* connecting: ask again.
                await trio.sleep(0.002)
            else:
                return sock
    except BaseException:
        sock.close()
        raise


async def _start_tls(address: Address, params: Any) -> tuple[socket.socket, _Tls | None]:
    """Connect, with TLS if the parameters ask for it and the server has it."""
    if params.ssl is None or isinstance(address, str):
        return await _open_socket(address), None
    stream = await trio.open_tcp_stream(*address)
    try:
        await stream.send_all(struct.pack("!ll", 8, _SSL_REQUEST))
        tls = None
        if await stream.receive_some(1) == b"S":
            context = params.ssl if isinstance(params.ssl, ssl.SSLContext) else ssl.create_default_context()
            tls = _Tls(context, address[0])
            await tls.handshake(stream)
        elif params.sslmode >= connect_utils.SSLMode.require:
            raise DatabaseUnavailable(f"{address[0]}:{address[1]} has no TLS, and the URL demands it")
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    sock = socket.socket(fileno=stream.socket.detach())
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock, tls


@contextlib.contextmanager
def translated_errors() -> collections.abc.Iterator[None]:
    """Turn asyncpg's exceptions into ours."""
    try:
        yield
    except asyncpg.UniqueViolationError as error:
        raise UniqueViolation(str(error), constraint=error.constraint_name or "") from error
    except (asyncpg.DeadlockDetectedError, asyncpg.SerializationError) as error:
        raise SerializationFailure(str(error), sqlstate=error.sqlstate) from error
    except (asyncpg.PostgresConnectionError, asyncpg.AdminShutdownError, asyncpg.CrashShutdownError) as error:
        raise DatabaseUnavailable(str(error), sqlstate=error.sqlstate) from error
    except (asyncpg.CannotConnectNowError, asyncpg.TooManyConnectionsError) as error:
        raise DatabaseUnavailable(str(error), sqlstate=error.sqlstate) from error
    except asyncpg.PostgresError as error:
        raise DatabaseError(str(error), sqlstate=error.sqlstate) from error
    except asyncpg.InterfaceError as error:
        if "closed" in str(error):
            raise DatabaseUnavailable(str(error)) from error
        raise DatabaseError(str(error)) from error
    except OSError as error:
        raise DatabaseUnavailable(f"the database cannot be reached: {error}") from error


class Connection:
    """A connection to PostgreSQL. One task uses it at a time. Raises DatabaseError and its kin."""

    def __init__(self, connection: _Connection, link: _Link) -> None:
        self._connection = connection
        self._link = link
        self._depth = 0

    @classmethod
    async def open(cls, url: str, *, application_name: str = "tricord") -> Self:
        """Connect to the first address of a `postgresql://` URL that answers."""
        with translated_errors():
            try:
                addresses, params, config = connect_utils._parse_connect_arguments(  # noqa: SLF001
                    dsn=url, host=None, port=None, user=None, password=None, passfile=None, database=None,
                    command_timeout=None, statement_cache_size=500, max_cached_statement_lifetime=0,
                    max_cacheable_statement_size=15 * 1024, ssl=None, direct_tls=None,
                    server_settings={"application_name": application_name}, target_session_attrs=None,
                    krbsrvname=None, gsslib=None, service=None, servicefile=None,
                )  # fmt: skip
            except (ValueError, asyncpg.InterfaceError) as error:
                raise DatabaseError(f"the database URL is not right: {error}") from error
            failure: Exception = DatabaseUnavailable("the database URL names no address")
            for address in addresses:
                try:
                    return await cls._open_at(address, params, config)
                except (OSError, asyncpg.PostgresError, asyncpg.InternalClientError, ssl.SSLError) as error:
                    failure = error
            raise failure

    @classmethod
    async def _open_at(cls, address: Address, params: Any, config: Any) -> Self:
        sock, tls = await _start_tls(address, params)
        link = _Link(sock, tls)
        established = link.create_future()
        link.protocol = _Protocol(address, established, params, asyncpg.Record, link)
        try:
            link.protocol.connection_made(link)
            await link.established(established)
        except BaseException:
            link.lost(None)
            raise
        connection = _Connection(link.protocol, link, link, address, config, params)
        link.connection = connection
        link.protocol.set_connection(connection)
        return cls(connection, link)

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
        with translated_errors():
            rows: list[Record] = await self._connection.fetch(sql, *args)
        return rows

    async def fetchrow(self, sql: str, *args: Any) -> Record | None:
        """Run a statement and return its first row, or None."""
        with translated_errors():
            row: Record | None = await self._connection.fetchrow(sql, *args)
        return row

    async def fetchval(self, sql: str, *args: Any) -> Any:
        """Run a statement and return the first column of its first row, or None."""
        with translated_errors():
            return await self._connection.fetchval(sql, *args)

    async def execute(self, sql: str, *args: Any) -> str:
        """Run a statement (several, separated by semicolons, if there are no arguments); return the server's tag."""
        with translated_errors():
            tag: str = await self._connection.execute(sql, *args)
        return tag

    async def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run a statement once for each row of arguments; all or nothing."""
        with translated_errors():
            await _with_checkpoints(self._connection.executemany(sql, rows))

    async def copy_records(self, table: str, columns: Sequence[str], records: Iterable[Sequence[Any]]) -> None:
        """Append rows to a table by COPY."""
        with translated_errors():
            await _with_checkpoints(
                self._connection.copy_records_to_table(table, columns=list(columns), records=records)
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
                await self._roll_back(savepoint)
                raise
            # The outcome of a COMMIT that was cancelled half-way would not be known.
            with trio.CancelScope(shield=True):
                await self.execute("COMMIT" if savepoint is None else f"RELEASE SAVEPOINT {savepoint}")
        finally:
            self._depth -= 1

    async def _roll_back(self, savepoint: str | None) -> None:
        with trio.move_on_after(PATIENCE_SECONDS, shield=True) as patience:
            if self.is_in_transaction:
                try:
                    await self.execute("ROLLBACK" if savepoint is None else f"ROLLBACK TO SAVEPOINT {savepoint}")
                except DatabaseError:
                    # Nothing of it was committed; a connection in an unknown state is of no use.
                    self.terminate()
        if patience.cancelled_caught:
            self.terminate()

    async def listen(self, channel: str, callback: Callable[[str], None]) -> None:
        """Call `callback` with the payload of each notification, while `notifications()` runs."""
        with translated_errors():
            await self._connection.add_listener(channel, lambda _c, _pid, _channel, payload: callback(payload))

    async def notifications(self) -> None:
        """Take in notifications until the connection is lost; then raises DatabaseUnavailable."""
        await self._link.until_lost()
        raise DatabaseUnavailable("the connection for notifications was lost")

    async def aclose(self) -> None:
        """Say goodbye and close."""
        if not self.is_closed:
            self._link.write(b"X\0\0\0\4")
            self.terminate()
        await trio.lowlevel.checkpoint()

    def terminate(self) -> None:
        """Close at once."""
        if not self.is_closed:
            self._connection.terminate()
