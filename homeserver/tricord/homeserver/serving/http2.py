"""HTTP/2: hypercorn's protocol on h2, with the limits of the HTTP/1.1 lane.

hypercorn reads bodies as fast as they come, waits for ever for a slow reader, and fails the whole connection on a part
of a body that nobody wants any more. So the connection, the flow control of bodies and the exchanges are ours;
framing, header compression, settings and the interleaving of answers are left to it.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Awaitable, Callable
from typing import Any

import h2.errors
import h2.events
import h2.exceptions
import h2.settings
import structlog
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.events import Closed, RawData
from hypercorn.protocol.events import Body as BodyPart
from hypercorn.protocol.events import Response as ResponseHead
from hypercorn.protocol.h2 import H2Protocol, StreamBuffer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from hypercorn.utils import filter_pseudo_headers

from tricord.homeserver.serving.application import Application
from tricord.homeserver.serving.asgi import Event, Scope, http_scope
from tricord.homeserver.serving.date import date
from tricord.homeserver.serving.errors import ClientDisconnected, Refused
from tricord.homeserver.serving.frame_lengths import FrameLengths
from tricord.homeserver.serving.framing import check_target
from tricord.homeserver.serving.limits import Limits

_log = structlog.get_logger(__name__)

_READ = 65_536
# Of one stream: RFC 9113's default, which clients need not be told.
_WINDOW = 65_535

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
        self.exchanges: dict[int, _Exchange] = {}
        self._stream = stream
        self._idle = idle
        self._sending = trio.Lock()
        # While something is being sent, and for ever if that was cut short.
        self._broken = False
        self._patience = trio.CancelScope()
        self._nursery: trio.Nursery
        self._protocol: _Protocol

    async def run(self, read: bytes) -> None:
        """Read until the connection ends; requests that are being served then go on to their end."""
        async with trio.open_nursery() as self._nursery:
            protocol = self._protocol = _Protocol(self)
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

    def begun(self, exchange: _Exchange) -> None:
        """Serve a request."""
        self.exchanges[exchange.stream_id] = exchange
        self._patience.deadline = math.inf
        self._idle.pop(self._patience, None)
        self.spawn(self._serve, exchange)

    async def _serve(self, exchange: _Exchange) -> None:
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


class _Protocol(H2Protocol):
    """hypercorn's HTTP/2, with exchanges of ours."""

    def __init__(self, connection: _Connection) -> None:
        limits = connection.limits
        tasks: Any = connection  # of a task group, only `spawn` is called
        config = Config()
        config.include_server_header = config.include_date_header = False
        super().__init__(
            ASGIWrapper(connection.application),  # type: ignore[arg-type]  # never called: exchanges call it
            config,
            WorkerContext(None),
            tasks,
            ConnectionState({}),
            connection.is_secure,
            None,
            None,
            connection.send,
        )
        self._limits = limits
        self._of = connection
        self._resets = 0
        self._answered = 0
        codes = h2.settings.SettingCodes
        # Without CONNECT: a browser that were told of it would bring its WebSockets here instead of by HTTP/1.1.
        self.connection.local_settings = h2.settings.Settings(
            client=False,
            initial_values={
                codes.MAX_CONCURRENT_STREAMS: limits.streams,
                codes.MAX_HEADER_LIST_SIZE: limits.head_bytes,
                codes.INITIAL_WINDOW_SIZE: _WINDOW,
            },
        )

    async def initiate(self, headers: Any = None, settings: Any = None) -> None:  # noqa: ARG002
        """Say our settings; the connection's window holds all streams', so that one unread body stops no other."""
        self.connection.initiate_connection()
        self.connection.increment_flow_control_window(self._limits.streams * _WINDOW)
        await self._flush()
        self.task_group.spawn(self.send_task)

    async def send_task(self) -> None:
        """Send bodies, until the connection ends."""
        try:
            await super().send_task()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            await self.send(Closed())

    async def _send_data(self, stream_id: int) -> None:
        await super()._send_data(stream_id)
        if stream_id not in self.stream_buffers and stream_id in self._of.exchanges:
            self._of.exchanges[stream_id].sent.set()

    async def _handle_events(self, events: list[h2.events.Event]) -> None:
        exchanges = self._of.exchanges
        for event in events:
            if isinstance(event, h2.events.RequestReceived):
                await self._begin(event)
            elif isinstance(event, h2.events.DataReceived):
                exchange = exchanges.get(event.stream_id or 0)
                taken = 0
                if exchange is not None and not exchange.done:
                    exchange.put(event.data or b"")
                    taken = len(event.data or b"")
                # Padding, and what nobody wants any more, is taken as read.
                self.read(event.stream_id or 0, (event.flow_controlled_length or 0) - taken)
            elif isinstance(event, h2.events.StreamEnded):
                if event.stream_id in exchanges:
                    exchanges[event.stream_id].complete()
            elif isinstance(event, h2.events.StreamReset):
                self._resets += 1
                if event.stream_id in exchanges:
                    await self._leave(exchanges[event.stream_id])
                if self._resets > self._limits.resets + self._answered:
                    await self._refuse_connection()
                    return
            elif isinstance(event, h2.events.PriorityUpdated):
                pass  # RFC 9113 has abandoned priorities; a tree of them is the client's to grow
            else:
                await super()._handle_events([event])
        await self._flush()

    async def _begin(self, event: h2.events.RequestReceived) -> None:
        stream_id = event.stream_id or 0
        headers = [(bytes(name), bytes(value)) for name, value in event.headers or ()]
        pseudo = {name: value for name, value in headers if name.startswith(b":")}
        if self._of.application.draining or len(self._of.exchanges) >= 2 * self._limits.streams:
            # It is safe to send elsewhere what was refused so.
            self.connection.reset_stream(stream_id, h2.errors.ErrorCodes.REFUSED_STREAM)
            return
        try:
            method = pseudo[b":method"].decode("ascii")
            _check_head(headers, pseudo, self._limits)
        except (Refused, UnicodeDecodeError) as refusal:
            status = refusal.status if isinstance(refusal, Refused) else 400
            self.connection.send_headers(stream_id, [(b":status", b"%d" % status)], end_stream=True)
            if event.stream_ended is None:
                self.connection.reset_stream(stream_id, h2.errors.ErrorCodes.NO_ERROR)
            return
        scope = http_scope(
            "2",
            method,
            pseudo[b":path"],
            filter_pseudo_headers(headers),
            peer=self._of.peer,
            is_secure=self._of.is_secure,
        )
        self.stream_buffers[stream_id] = StreamBuffer(self.context.event_class)
        self.priority.insert_stream(stream_id)
        self.priority.block(stream_id)
        self._of.begun(_Exchange(self, self._limits, stream_id, scope))

    async def _refuse_connection(self) -> None:
        self.connection.close_connection(h2.errors.ErrorCodes.ENHANCE_YOUR_CALM)
        await self._flush()
        await self.send(Closed())

    async def _leave(self, exchange: _Exchange) -> None:
        exchange.leave()
        if exchange.stream_id in self.stream_buffers:
            await self.stream_buffers[exchange.stream_id].close()

    def read(self, stream_id: int, size: int) -> None:
        """Let the client send as much again."""
        if size and not self.closed:
            # The stream or the connection may have ended meanwhile.
            with contextlib.suppress(h2.exceptions.ProtocolError, KeyError):
                self.connection.acknowledge_received_data(size, stream_id)

    async def flush(self) -> None:
        """Send what the protocol has to say."""
        if not self.closed:
            await self._flush()

    async def finish(self, exchange: _Exchange) -> None:
        """End a stream: well if it was answered and read, else with a reset."""
        stream_id = exchange.stream_id
        self.read(stream_id, exchange.discard())
        if exchange.ended:
            self._answered += 1
        elif stream_id in self.stream_buffers:
            await self.stream_buffers[stream_id].close()
            with contextlib.suppress(KeyError):
                self.priority.unblock(stream_id)
            await self.has_data.set()
        if self.closed or exchange.gone or (exchange.ended and exchange.body_complete):
            return
        code = h2.errors.ErrorCodes.NO_ERROR if exchange.ended else h2.errors.ErrorCodes.INTERNAL_ERROR
        try:
            self.connection.reset_stream(stream_id, code)
            await self._flush()
        except (h2.exceptions.ProtocolError, trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    async def end(self) -> None:
        """Tell all requests that the connection has ended; waits for nothing."""
        self.closed = True
        for exchange in self._of.exchanges.values():
            await self._leave(exchange)
        await self.has_data.set()

    async def say_goodbye(self) -> None:
        """Send what is left to send, and that the connection ends."""
        try:
            self.connection.close_connection()
            await self._flush()
        except (h2.exceptions.ProtocolError, trio.BrokenResourceError, trio.ClosedResourceError):
            pass


class _Exchange:
    """One request and its answer, as ASGI's `receive` and `send`."""

    def __init__(self, protocol: _Protocol, limits: Limits, stream_id: int, scope: Scope) -> None:
        self.stream_id = stream_id
        self.scope = scope
        self.body_complete = False
        self.gone = False
        """The client has reset the stream, or the connection has ended."""
        self.ended = False
        """The answer was sent to its end."""
        self.done = False
        """Nobody serves it any more."""
        self.sent = trio.Event()
        self._protocol = protocol
        self._limits = limits
        self._news = trio.Event()
        self._body = bytearray()
        self._body_given = False
        self._begun = 0.0
        self._received = 0
        self._bodiless = scope["method"] == "HEAD"

    def put(self, data: bytes) -> None:
        """Take a part of the body; the client sends no more than the window until it is read."""
        self._body += data
        self._received += len(data)
        self._news.set()

    def complete(self) -> None:
        """Take note that the body is complete."""
        self.body_complete = True
        self._news.set()

    def leave(self) -> None:
        """Take note that the client has gone."""
        self.gone = True
        self._news.set()
        self.sent.set()

    def discard(self) -> int:
        """Drop what was not read, and return how much it was."""
        size = len(self._body)
        self._body.clear()
        return size

    async def receive(self) -> Event:
        """Return the next part of the body, and after it that the client has gone. Raises Refused."""
        if not self._body_given:
            while not self._body and not self.body_complete and not self.gone:
                await self._more_body()
            if not self.gone:
                body = bytes(self._body)
                self._body.clear()
                self._body_given = self.body_complete
                self._protocol.read(self.stream_id, len(body))
                await self._protocol.flush()
                # By now more may have come, and with it the end.
                return {"type": "http.request", "body": body, "more_body": not self._body_given}
        while not self.gone:
            await self._wait()
        return {"type": "http.disconnect"}

    async def _wait(self) -> None:
        self._news = trio.Event()
        await self._news.wait()

    async def _more_body(self) -> None:
        now = trio.current_time()
        if not self._begun:
            self._begun = now
        with trio.CancelScope(deadline=self._limits.body_deadline(self._begun, now, self._received)):
            await self._wait()
            return
        raise Refused(408, "the body took too long")

    async def send(self, event: Event) -> None:
        """Send a part of an answer. Raises ClientDisconnected."""
        if self.gone:
            raise ClientDisconnected
        if event["type"] == "http.response.start":
            status = event["status"]
            self._bodiless = self._bodiless or status in (204, 304)
            headers = [(b"date", date()), *((name.lower(), value) for name, value in event["headers"])]
            await self._protocol.stream_send(
                ResponseHead(stream_id=self.stream_id, status_code=status, headers=headers)
            )
            return
        body = event.get("body", b"")
        if not self._bodiless:
            for start in range(0, len(body), self._limits.send_bytes):
                part = body[start : start + self._limits.send_bytes]
                await self._patiently(self._protocol.stream_send, BodyPart(stream_id=self.stream_id, data=part))
        if not event.get("more_body"):
            buffer = self._protocol.stream_buffers.get(self.stream_id)
            if buffer is None:
                raise ClientDisconnected
            buffer.set_complete()
            self._protocol.priority.unblock(self.stream_id)
            await self._protocol.has_data.set()
            await self._patiently(self.sent.wait)
            self.ended = True

    async def _patiently(self, send: Callable[..., Awaitable[Any]], *arguments: Any) -> None:
        with trio.CancelScope(deadline=trio.current_time() + self._limits.send_pause_seconds):
            await send(*arguments)
            if not self.gone:
                return
        raise ClientDisconnected


def _check_head(headers: list[tuple[bytes, bytes]], pseudo: dict[bytes, bytes], limits: Limits) -> None:
    if len(headers) > limits.headers:
        raise Refused(431, "too many headers")
    target = pseudo.get(b":path", b"")
    if len(target) > limits.target_bytes:
        raise Refused(414, "the request target is too long")
    if pseudo[b":method"] == b"CONNECT" or b" " in target or not target.isascii():
        raise Refused(400, "the request target is not a path")
    check_target(target)
