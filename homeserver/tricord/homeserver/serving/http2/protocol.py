"""hypercorn's HTTP/2, with our limits, and with exchanges of ours in place of its streams."""

from __future__ import annotations

import contextlib
from typing import Any, Protocol

import h2.errors
import h2.events
import h2.exceptions
import h2.settings
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.events import Closed
from hypercorn.protocol.h2 import H2Protocol, StreamBuffer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from hypercorn.utils import filter_pseudo_headers

from tricord.homeserver.serving.application import Application
from tricord.homeserver.serving.asgi import http_scope
from tricord.homeserver.serving.errors import ClientDisconnected, Refused
from tricord.homeserver.serving.http2.exchange import Exchange
from tricord.homeserver.serving.limits import Limits
from tricord.homeserver.serving.request import check_target

# Of one stream: RFC 9113's default, which clients need not be told.
_WINDOW = 65_535


class Connection(Protocol):
    """What the protocol needs of the connection whose bytes it reads and writes."""

    application: Application
    limits: Limits
    peer: tuple[Any, ...]
    is_secure: bool
    exchanges: dict[int, Exchange]

    async def send(self, event: Any) -> None:
        """Carry out what hypercorn's protocol asks for."""
        ...

    def begun(self, exchange: Exchange) -> None:
        """Serve a request."""
        ...


class Http2(H2Protocol):
    """hypercorn's HTTP/2, with exchanges of ours."""

    def __init__(self, connection: Connection) -> None:
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
        self._of.begun(Exchange(self, self._limits, stream_id, scope))

    async def _refuse_connection(self) -> None:
        self.connection.close_connection(h2.errors.ErrorCodes.ENHANCE_YOUR_CALM)
        await self._flush()
        await self.send(Closed())

    async def _leave(self, exchange: Exchange) -> None:
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

    async def end_answer(self, stream_id: int) -> None:
        """Take note that all of an answer has been handed over. Raises ClientDisconnected."""
        buffer = self.stream_buffers.get(stream_id)
        if buffer is None:
            raise ClientDisconnected
        buffer.set_complete()
        self.priority.unblock(stream_id)
        await self.has_data.set()

    async def finish(self, exchange: Exchange) -> None:
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


def _check_head(headers: list[tuple[bytes, bytes]], pseudo: dict[bytes, bytes], limits: Limits) -> None:
    if len(headers) > limits.headers:
        raise Refused(431, "too many headers")
    target = pseudo.get(b":path", b"")
    if len(target) > limits.target_bytes:
        raise Refused(414, "the request target is too long")
    if pseudo[b":method"] == b"CONNECT" or b" " in target or not target.isascii():
        raise Refused(400, "the request target is not a path")
    check_target(target)
