"""asyncpg's wire protocol, driven by trio with no asyncio loop anywhere.

asyncpg's protocol class does no I/O of its own. From asyncio it wants a loop that makes futures and a transport to
write to; `Link` is both, and gives it trio's. The task that awaits a reply reads the socket itself, so that nothing is
handed over between tasks.

Cancellation: when trio cancels a query, the server is told (CancelRequest) and its answer is drained up to
ReadyForQuery before `Cancelled` leaves the frame, so that the connection is clean for the next user. Where that takes
too long, the connection is dropped.

Ctrl-C: while asyncpg's code runs, KeyboardInterrupt waits for the next checkpoint (`enable_ki_protection`). asyncpg
would swallow one that comes while it sends (`return` in a `finally`), and go on with a statement that it has not noted
yet: the first row of the reply would crash the process.

Time is trio's: asyncpg's own time-outs, which need an asyncio loop, are refused.
"""

from __future__ import annotations

import asyncio  # noqa: TID251  # only the names of exceptions that asyncpg expects
import contextlib
import functools
import socket
import struct
import types
from collections.abc import Awaitable, Callable, Generator, Iterable
from typing import Any

import asyncpg
import asyncpg.compat
import trio
from asyncpg.connection import Connection as AsyncpgConnection
from asyncpg.protocol.protocol import Protocol as AsyncpgProtocol

from tricord.homeserver.storage.sockets import Address, Tls, dial_again

# The private parts used here were tried with these versions; the tests hold a canary for the next.
TESTED_ASYNCPG = "0.32."
if not asyncpg.__version__.startswith(TESTED_ASYNCPG):
    raise ImportError(f"asyncpg {asyncpg.__version__} is installed; Tricord drives asyncpg {TESTED_ASYNCPG}* only")

# How long the server may take to acknowledge a cancelled query, or the end of a transaction.
PATIENCE_SECONDS = 5.0
# How long a cancelled task still lets the server finish its start-up.
_START_UP_SECONDS = 1.0
_FIRST_PAUSE_SECONDS = 0.05
_LOOK_SECONDS = 0.01
_CANCEL_REQUEST = 80877102
_RECEIVE = 1 << 16


class Future:
    """What asyncpg calls a waiter. Awaiting it reads the socket until it is done."""

    __slots__ = ("_callbacks", "_exception", "_link", "_result", "_state")

    # Makes `asyncio.isfuture()` say yes; no asyncio loop ever sees it.
    _asyncio_future_blocking = False

    def __init__(self, link: Link) -> None:
        self._link = link
        self._state = "pending"
        self._result: Any = None
        self._exception: BaseException | None = None
        self._callbacks: list[Callable[[Future], None]] = []

    def done(self) -> bool:
        return self._state != "pending"

    def cancelled(self) -> bool:
        return self._state == "cancelled"

    def exception(self) -> BaseException | None:
        return self._exception

    def add_done_callback(self, callback: Callable[[Future], None], context: object = None) -> None:
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


class Link:
    """The socket of one connection, as asyncpg's event loop and as its transport."""

    def __init__(self, sock: socket.socket, tls: Tls | None) -> None:
        self._socket = sock
        self._tls = tls
        self._unsent = bytearray()
        self._closed = False
        self.protocol: DrivenProtocol
        self.connection: DrivenConnection | None = None

    # What asyncpg uses of asyncio.AbstractEventLoop.

    def create_future(self) -> Future:
        return Future(self)

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

    async def reply(self, future: Future) -> None:
        """Read until the future is done; when cancelled, leave the connection clean."""
        try:
            await self._until(future.done)
        except trio.Cancelled:
            if not future.done():
                # asyncpg marks the query as cancelled, and asks our connection to tell the server.
                future.cancel()
                await self.settle()
            raise
        except BaseException:
            self.lost(ConnectionError("a reply was not understood"))
            raise

    async def settle(self) -> None:
        """Have the server end the query that asyncpg has given up, if there is one; drop the connection if it won't."""
        connection = self.connection
        if connection is None:
            self.lost(ConnectionError("cancelled while connecting"))
            return
        try:
            with trio.move_on_after(PATIENCE_SECONDS, shield=True):
                pause = _FIRST_PAUSE_SECONDS
                while not connection.given_up_query_has_ended():
                    await connection.send_cancel_request()
                    # Told again: the server ignores it while it has not yet read the whole query.
                    with trio.move_on_after(pause):
                        await self._until(connection.given_up_query_has_ended)
                    pause *= 2
                return
        except BaseException:
            self.lost(ConnectionError("the end of a cancelled query was not understood"))
            raise
        self.lost(ConnectionError(f"a cancelled query did not end within {PATIENCE_SECONDS:.0f} s"))

    async def established(self, future: Future) -> None:
        """Read until the start-up is over; raises what went wrong.

        A cancelled task lets it finish, for the next who wants a connection: requests that are cancelled in numbers
        would otherwise be a storm of connects. But it does not wait long for a server that is silent.
        """
        with trio.move_on_after(_START_UP_SECONDS, shield=True):
            await self._until(future.done)
        await self._until(future.done)
        future.result()

    @trio.lowlevel.enable_ki_protection
    async def something(self) -> None:
        """Read what comes unasked (notifications)."""
        if not self._closed:
            await trio.lowlevel.wait_readable(self._socket)
            self._receive()

    @trio.lowlevel.enable_ki_protection
    def is_stale(self) -> bool:
        """Tell whether an idle connection was lost; takes in what the server has said meanwhile."""
        while not self._closed:
            data = self._read()
            if data is None:
                return False
            if data.startswith(b"E"):
                # Its last word: the backend was ended, or the server stops.
                self.lost(None)
            elif data:
                self.protocol.data_received(data)
        return True

    async def connect_again(self, address: Address) -> socket.socket:
        """Open a second socket to the very same server."""
        return await dial_again(address, self._socket)

    async def _until(self, done: Callable[[], bool]) -> None:
        while not done() and not self._closed:
            if self._unsent:
                await self._send_more()
            else:
                await trio.lowlevel.wait_readable(self._socket)
                self._receive()

    def _receive(self) -> None:
        data = self._read()
        if data:
            self.protocol.data_received(data)

    def _read(self) -> bytes | None:
        """Return what has arrived, decrypted; None if nothing has. The connection may be lost by it."""
        try:
            data = self._socket.recv(_RECEIVE)
            if not data:
                self.lost(None)
            elif self._tls is not None:
                return self._tls.decrypt(data)
        except BlockingIOError:
            return None
        except OSError as error:  # ssl.SSLError is one
            self.lost(error)
            return b""
        return data

    async def _send_more(self) -> None:
        """Send more of a large message, and read meanwhile: both sides would block otherwise."""
        # As a rule the server takes it. That it wants to be heard first is seen by looking now and then, which is
        # much cheaper than two tasks that wait for one thing each.
        with trio.move_on_after(_LOOK_SECONDS):
            await trio.lowlevel.wait_writable(self._socket)
        self._receive()
        if self._closed:
            return
        try:
            sent = self._socket.send(self._unsent)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self.lost(error)
            return
        del self._unsent[:sent]


class DrivenProtocol(AsyncpgProtocol):  # type: ignore[misc]  # asyncpg is not typed
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
def with_checkpoints(coroutine: Any) -> Generator[Any, Any, Any]:
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
    # Not cancelled here, in the middle of a pipeline: the server would wait for its end (Sync) before it answers.
    # Cancellation comes with the wait for the reply.
    await trio.lowlevel.cancel_shielded_checkpoint()


class DrivenConnection(AsyncpgConnection):  # type: ignore[misc]  # asyncpg is not typed
    """asyncpg's connection, with our way to tell the server of a cancelled query."""

    __slots__ = ("_cancel_sent", "_cancel_waiter", "_driving")

    def __init__(self, link: Link, address: Address, config: Any, params: Any) -> None:
        super().__init__(link.protocol, link, link, address, config, params)
        self._cancel_sent: Future | None = None
        self._cancel_waiter: Future | None = None
        self._driving = link
        link.connection = self
        link.protocol.set_connection(self)

    def _cancel_current_command(self, sent: Future, waiter: Future | None = None) -> None:
        self._cancel_sent, self._cancel_waiter = sent, waiter

    def given_up_query_has_ended(self) -> bool:
        """Whether there is no query any more that asyncpg has given up."""
        return self._cancel_waiter is None or self._cancel_waiter.done()

    async def send_cancel_request(self) -> None:
        """Ask the server, over a connection of its own, to cancel what this one is doing."""
        try:
            with contextlib.closing(await self._driving.connect_again(self._addr)) as sock:
                protocol = self._protocol
                await trio.lowlevel.wait_writable(sock)
                sock.send(struct.pack("!llll", 16, _CANCEL_REQUEST, protocol.backend_pid, protocol.backend_secret))
                # The server closes the connection once the signal is on its way: it cannot hit the next query.
                await trio.lowlevel.wait_readable(sock)
        except OSError:
            pass  # then the query ends by itself, or patience does
        finally:
            if self._cancel_sent is not None and not self._cancel_sent.done():
                self._cancel_sent.set_result(None)
