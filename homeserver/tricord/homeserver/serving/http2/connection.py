"""A connection of HTTP/2: its bytes, its requests, and how long it may do nothing."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
import trio
from hypercorn.events import Closed, RawData

from tricord.homeserver.serving.application import Application
from tricord.homeserver.serving.errors import ClientDisconnected
from tricord.homeserver.serving.http2.exchange import Exchange
from tricord.homeserver.serving.http2.frame_lengths import FrameLengths
from tricord.homeserver.serving.http2.protocol import Http2
from tricord.homeserver.serving.limits import Limits

_log = structlog.get_logger(__name__)

_READ = 65_536

Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]


async def serve_http2(
    application: Application,
    stream: Stream,
    peer: tuple[Any, ...],
    limits: Limits,
    idle: dict[trio.CancelScope, float],
    read: bytes = b"",
) -> None:
    """Serve a connection to its end. `idle` holds its scope while it has no request; `read` came already."""
    connection = _Connection(application, stream, peer, limits, idle)
    await connection.run(read)


class _Connection:
    """The bytes of a connection, its requests, and how long it may do nothing."""

    def __init__(
        self,
        application: Application,
        stream: Stream,
        peer: tuple[Any, ...],
        limits: Limits,
        idle: dict[trio.CancelScope, float],
    ) -> None:
        self.application = application
        self.limits = limits
        self.peer = peer
        self.is_secure = isinstance(stream, trio.SSLStream)
        self.exchanges: dict[int, Exchange] = {}
        self._stream = stream
        self._idle = idle
        self._sending = trio.Lock()
        # While something is being sent, and for ever if that was cut short.
        self._broken = False
        self._patience = trio.CancelScope()
        self._nursery: trio.Nursery
        self._protocol: Http2

    async def run(self, read: bytes) -> None:
        """Read until the connection ends; requests that are being served then go on to their end."""
        async with trio.open_nursery() as self._nursery:
            protocol = self._protocol = Http2(self)
            try:
                with self._patience:
                    self._patience.deadline = trio.current_time() + self.limits.head_seconds
                    self._idle[self._patience] = math.inf
                    await protocol.initiate()
                    data = read or bytes(await self._stream.receive_some(_READ))
                    frames = FrameLengths()
                    while data and not protocol.closed and frames.are_bounded(data):
                        await protocol.handle(RawData(data))
                        data = bytes(await self._stream.receive_some(_READ))
                with trio.move_on_after(1):
                    await protocol.say_goodbye()
            except (trio.BrokenResourceError, trio.ClosedResourceError, OSError):
                pass
            finally:
                self._idle.pop(self._patience, None)
                await protocol.end()

    def spawn(self, run: Callable[..., Awaitable[Any]], *arguments: Any) -> None:
        """Start a task of the connection; hypercorn calls this too."""
        self._nursery.start_soon(run, *arguments)

    async def send(self, event: Any) -> None:
        """Carry out what hypercorn's protocol asks for."""
        if isinstance(event, RawData):
            async with self._sending:
                if self._broken:
                    raise trio.BrokenResourceError("the connection ended within a frame")
                self._broken = True
                with trio.CancelScope(deadline=trio.current_time() + self.limits.send_pause_seconds):
                    await self._stream.send_all(event.data)
                    self._broken = False
                    return
                self._patience.cancel()
                raise trio.BrokenResourceError("the client reads nothing")
        elif isinstance(event, Closed):
            self._patience.cancel()

    def begun(self, exchange: Exchange) -> None:
        """Serve a request."""
        self.exchanges[exchange.stream_id] = exchange
        self._patience.deadline = math.inf
        self._idle.pop(self._patience, None)
        self.spawn(self._serve, exchange)

    async def _serve(self, exchange: Exchange) -> None:
        try:
            await self.application(exchange.scope, exchange.receive, exchange.send)
        except (ClientDisconnected, trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        except Exception:  # noqa: BLE001  # whatever it is, it must harm this request only
            _log.exception("a request failed over HTTP/2")
        finally:
            exchange.done = True
            del self.exchanges[exchange.stream_id]
        await self._protocol.finish(exchange)
        if not self.exchanges and not self._protocol.closed:
            self._idle[self._patience] = math.inf
            if self.application.draining:
                self._patience.cancel()
            self._patience.deadline = trio.current_time() + self.limits.idle_seconds
