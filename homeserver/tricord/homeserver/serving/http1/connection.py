"""A connection of HTTP/1.1: one request after another, and how long each may take to come."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import trio

from tricord.homeserver.serving.asgi import Body, http_scope
from tricord.homeserver.serving.context import Context
from tricord.homeserver.serving.disconnects import Disconnects
from tricord.homeserver.serving.errors import ClientDisconnected, Refused
from tricord.homeserver.serving.http1.body import LEAST_LONG, LongBody
from tricord.homeserver.serving.http1.exchange import Exchange
from tricord.homeserver.serving.http1.framing import Message, Reader
from tricord.homeserver.serving.http1.upgrade import converse
from tricord.homeserver.serving.http1.wire import Stream, Wire
from tricord.homeserver.serving.http2.frame_lengths import HTTP2_PREFACE
from tricord.homeserver.serving.request import RawRequest
from tricord.homeserver.serving.response import Response, unreadable


class Connection:
    """Reads requests and has them answered, until the connection ends or turns out to be one of HTTP/2."""

    __slots__ = (
        "_application",
        "_context",
        "_head_deadline",
        "_is_gone",
        "_is_watched",
        "_limits",
        "_on_gone",
        "_patience",
        "_peer",
        "_reader",
        "_wire",
    )

    def __init__(self, context: Context, stream: Stream, peer: tuple[Any, ...]) -> None:
        self._context = context
        self._application = context.application
        self._limits = context.limits
        self._peer = peer
        self._wire = Wire(stream, context.limits)
        self._reader = Reader(context.limits)
        # Cancelled only while the connection is idle.
        self._patience = trio.CancelScope()
        self._head_deadline = 0.0
        # What is to be done when the client goes away, and whether it has; from the first request on that waits.
        self._on_gone: Callable[[], None] | None = None
        self._is_watched = self._is_gone = False

    async def run(self) -> bytes:
        """Serve requests until the connection ends; return what has been read if that is HTTP/2, else b""."""
        try:
            with self._patience:
                data = await self._opening()
                if data.startswith(HTTP2_PREFACE):
                    return data
                await self._requests(data)
        except Refused as refusal:
            with trio.move_on_after(self._limits.linger_seconds), contextlib.suppress(trio.BrokenResourceError):
                exchange = Exchange(self._wire, self._reader, self._application, Message())
                await exchange.answer(unreadable(refusal))
                await self._wire.linger()
        finally:
            self._watch_no_longer()
            self._reader.close()
        return b""

    async def _opening(self) -> bytes:
        """Return the first bytes, enough of them to tell HTTP/2 from HTTP/1.1; b"" if there are none."""
        data = await self._next_read(self._limits.head_seconds)
        while len(data) < len(HTTP2_PREFACE) and HTTP2_PREFACE.startswith(data) and data:
            more = await self._rest_of_head()
            if not more:
                return b""
            data += more
        return data

    async def _requests(self, data: bytes) -> None:
        reader, wire = self._reader, self._wire
        while data:
            reader.feed(data)
            while reader.ready:
                message = reader.ready.pop(0)
                if message.upgrade:
                    if await self._upgraded(message):
                        return
                    reader.ignore_upgrade(message)
                    continue
                await self._serve(message)
                if not message.keep_alive:
                    return
            if reader.refusal is not None:
                raise reader.refusal
            if self._application.draining:
                return
            if wire.early:
                data, wire.early = wire.early, b""
            elif reader.in_head:
                data = await self._rest_of_head()
            else:
                data = await self._next_read(self._limits.idle_seconds)

    async def _upgraded(self, message: Message) -> bool:
        """Serve a WebSocket to its end, if that is what is asked for; False if the request is served without."""
        route = self._context.websockets.get(message.target.partition(b"?")[0])
        if route is None or message.upgrade != b"websocket" or message.method != "GET":
            return False
        self._watch_no_longer()
        if not message.complete or message.body_length != 0:
            raise Refused(400, "an upgrade has no body")
        if self._reader.rest:
            raise Refused(400, "a WebSocket begins with our answer")
        address = self._application.client_addresses.of(self._peer[0], message.headers)
        await converse(route, message, self._wire.stream, address, self._limits, self._context.idle)
        return True

    async def _next_read(self, patience_seconds: float) -> bytes:
        """Wait for a request; b"" when the client has closed, was idle for too long, or the server stops."""
        idle = self._context.idle
        if self._application.draining:
            return b""
        idle[self._patience] = trio.current_time() + patience_seconds
        try:
            data = await self._wire.receive()
        finally:
            del idle[self._patience]
        if self._patience.cancel_called:
            return b""  # it came too late: what it asks must not begin, since it would be cut short
        self._head_deadline = trio.current_time() + self._limits.head_seconds
        return data

    async def _rest_of_head(self) -> bytes:
        with trio.CancelScope(deadline=self._head_deadline):
            return await self._wire.receive_more()
        raise Refused(408, "the request took too long")

    async def _serve(self, message: Message) -> None:
        application = self._application
        exchange = Exchange(self._wire, self._reader, application, message)
        path, _, query_string = message.target.partition(b"?")
        headers = message.headers
        request = RawRequest(
            message.method,
            path,
            query_string,
            headers,
            application.client_addresses.of(self._peer[0], headers),
            _body_of(message, exchange),
            has_bare_query=message.target.endswith(b"?"),
        )
        response: Response | None = None
        found = await application.find(request)
        if isinstance(found, Response):
            response = found
        elif application.goes_straight(found[0]):
            when_gone = self._when_gone if Disconnects.available else None
            response = await application.respond(request, *found, exchange.receive, when_gone)
        else:
            scope = http_scope(
                message.version,
                message.method,
                message.target,
                headers,
                peer=self._peer,
                is_secure=self._wire.is_secure,
            )
            try:
                await application.by_quart(request, *found, scope, exchange.receive, exchange.send)
            except ClientDisconnected:
                message.keep_alive = False
                return
        if response is not None:
            await exchange.answer(response)
        elif not exchange.answered:
            message.keep_alive = False
            return
        if not message.complete:
            await exchange.read_away()
        if self._reader.in_head:
            self._head_deadline = trio.current_time() + self._limits.head_seconds

    def _when_gone(self, leave: Callable[[], None] | None) -> None:
        """Call `leave` when the client closes its side, or has; None: no longer."""
        self._on_gone = leave
        if leave is None:
            return
        if not self._is_watched:
            self._is_watched = True
            self._context.disconnects.watch(self._wire.transport, self._note_gone)
        if self._is_gone:
            leave()

    def _watch_no_longer(self) -> None:
        if self._is_watched:
            self._is_watched = False
            self._context.disconnects.forget(self._wire.transport)

    def _note_gone(self) -> None:
        self._is_gone = True
        if self._on_gone is not None:
            self._on_gone()


def _body_of(message: Message, exchange: Exchange) -> Body | None:
    if message.complete and not message.body:
        return None
    length = message.body_length
    return Body(exchange.receive) if length is None or length < LEAST_LONG else LongBody(exchange, length)
