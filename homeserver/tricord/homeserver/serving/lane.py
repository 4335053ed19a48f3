"""The HTTP/1.1 lane: httptools parses, the connection's own task serves, and an answer is one send.

hypercorn's own way through HTTP/1.1 costs about ten times as much (a task, a channel and a timer for each request).
What the lane does not speak it hands over with the bytes read so far: HTTP/2 (by ALPN or prior knowledge) to
`http2.py`, WebSockets to trio-websocket. Other upgrades are not made, and their requests served as HTTP/1.1: h2c, which
HTTP/2 has abandoned, has been a way past the rules of proxies.
"""

from __future__ import annotations

import contextlib
import http
import math
import os
import re
import socket
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any
from urllib.parse import parse_qs

import structlog
import trio

from tricord.federation.late import Late
from tricord.homeserver.serving.application import Application
from tricord.homeserver.serving.asgi import Body, Event, http_scope
from tricord.homeserver.serving.call import Header, WebSocketRoute
from tricord.homeserver.serving.date import date
from tricord.homeserver.serving.disconnects import Disconnects
from tricord.homeserver.serving.errors import ClientDisconnected, Refused
from tricord.homeserver.serving.framing import HTTP2_PREFACE, Message, Reader
from tricord.homeserver.serving.limits import Limits
from tricord.homeserver.serving.request import RawRequest
from tricord.homeserver.serving.response import Response, unreadable

_log = structlog.get_logger(__name__)

_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in http.HTTPStatus}
_READ = 65_536
# Files come in large bodies: what is read at once, is handed on at once.
_READ_OF_LONG_BODY = 245_760
# Only Linux makes room for as much as a socket is told to wait for.
_WAITS_FOR_MUCH = sys.platform == "linux"
_WEBSOCKET_GOING_AWAY = 1001
_WEBSOCKET_KEY = re.compile(r"[A-Za-z0-9+/]{22}==")

Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]


def _load_http2() -> Any:
    from tricord.homeserver.serving.http2 import serve_http2

    return serve_http2


# Not every server is asked by HTTP/2, or for a WebSocket.
_http2 = Late(_load_http2)
_websockets = Late(lambda: import_module("trio_websocket"))


class Lane:
    """The parts that all connections of a listener share.

    `idle` holds the scopes of connections that only wait, for a next request or as WebSockets, and until when they may.
    They end when the server stops.
    """

    def __init__(
        self, application: Application, websockets: Mapping[bytes, WebSocketRoute], limits: Limits | None = None
    ) -> None:
        self.application = application
        self.websockets = websockets
        self.limits = limits or Limits()
        self.idle: dict[trio.CancelScope, float] = {}
        self.disconnects = Disconnects()

    def drain(self) -> None:
        """Let go of everybody who only waits; what is under way ends with its answer."""
        self.application.drain()
        for scope in self.idle:
            scope.cancel()

    async def run(self) -> None:
        """Mind connections that wait, for ever."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.disconnects.run)
            nursery.start_soon(self._end_idle)

    async def _end_idle(self) -> None:
        """End connections that were idle for too long; a scope with a deadline for each request would cost more."""
        while True:
            await trio.sleep(min(1, self.limits.idle_seconds / 2, self.limits.head_seconds / 2))
            now = trio.current_time()
            for scope, until in self.idle.items():
                if until < now:
                    scope.cancel()

    async def serve(self, stream: Stream) -> None:
        """Serve one connection to its end."""
        self.application.connections += 1
        try:
            await self._connection(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError):
            pass  # the client is gone, and nobody is left to tell
        except Exception:  # noqa: BLE001  # whatever it is, it must harm this connection only
            _log.exception("a connection failed")
        finally:
            self.application.connections -= 1
            with trio.CancelScope(shield=True), trio.move_on_after(1):
                await stream.aclose()

    async def _connection(self, stream: Stream) -> None:
        transport = stream.transport_stream if isinstance(stream, trio.SSLStream) else stream
        peer = transport.socket.getpeername()
        if isinstance(stream, trio.SSLStream):
            with trio.CancelScope() as patience:
                patience.deadline = trio.current_time() + self.limits.handshake_seconds
                self.idle[patience] = math.inf
                try:
                    await stream.do_handshake()
                finally:
                    del self.idle[patience]
            if patience.cancelled_caught:
                return
            if stream.selected_alpn_protocol() == "h2":
                serve_http2 = await _http2.get()
                await serve_http2(self.application, stream, peer, self.limits, self.idle)
                return
        await _Connection(self, stream, peer).run()


class _Connection:
    def __init__(self, lane: Lane, stream: Stream, peer: tuple[Any, ...]) -> None:
        self._lane = lane
        self._application = lane.application
        self._limits = lane.limits
        self._stream = stream
        self._peer = peer
        self._socket = stream.socket if isinstance(stream, trio.SocketStream) else None
        self._transport = (stream.transport_stream if isinstance(stream, trio.SSLStream) else stream).socket
        # How much must have come before the system wakes us.
        self._woken_at = 1
        self._reader = Reader(lane.limits)
        # Cancelled only while the connection is idle.
        self._patience = trio.CancelScope()
        self._head_deadline = 0.0
        # When the body under way began, and how much of it has come.
        self._body_begun = 0.0
        self._body_received = 0
        # What came while nobody was to read, but the end of the connection to be noticed.
        self._early = b""
        # What is to be done when the client goes away, and whether it has; from the first request on that waits.
        self._on_gone: Callable[[], None] | None = None
        self._is_watched = self._is_gone = False

    async def run(self) -> None:
        """Serve requests until the connection ends."""
        try:
            with self._patience:
                if data := await self._opening():
                    await self._requests(data)
        except Refused as refusal:
            with trio.move_on_after(self._limits.linger_seconds), contextlib.suppress(trio.BrokenResourceError):
                await _Exchange(self, Message()).answer(unreadable(refusal))
                await self._linger()
        finally:
            self._watch_no_longer()
            self._reader.close()

    async def _opening(self) -> bytes:
        """Return the first bytes of HTTP/1.1; b"" if there are none, or once HTTP/2 has been served."""
        data = await self._next_read(self._limits.head_seconds)
        while len(data) < len(HTTP2_PREFACE) and HTTP2_PREFACE.startswith(data) and data:
            more = await self._rest_of_head()
            if not more:
                return b""
            data += more
        if not data.startswith(HTTP2_PREFACE):
            return data
        serve_http2 = await _http2.get()
        await serve_http2(self._application, self._stream, self._peer, self._limits, self._lane.idle, data)
        return b""

    async def _requests(self, data: bytes) -> None:
        reader = self._reader
        while data:
            reader.feed(data)
            while reader.ready:
                message = reader.ready.pop(0)
                if message.upgrade:
                    websocket = self._lane.websockets.get(message.target.partition(b"?")[0])
                    if websocket is not None and message.upgrade == b"websocket" and message.method == "GET":
                        await self._converse(websocket, message)
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
            if self._early:
                data, self._early = self._early, b""
            elif reader.in_head:
                data = await self._rest_of_head()
            else:
                data = await self._next_read(self._limits.idle_seconds)

    async def _next_read(self, patience_seconds: float) -> bytes:
        """Wait for a request; b"" when the client has closed, was idle for too long, or the server stops."""
        idle = self._lane.idle
        if self._application.draining:
            return b""
        idle[self._patience] = trio.current_time() + patience_seconds
        try:
            data = await self._receive()
        finally:
            del idle[self._patience]
        if self._patience.cancel_called:
            return b""  # it came too late: what it asks must not begin, since it would be cut short
        self._head_deadline = trio.current_time() + self._limits.head_seconds
        return data

    async def _receive(self) -> bytes:
        if self._socket is None:
            return bytes(await self._stream.receive_some(_READ))
        # As receive_some, without first trying in vain: between two requests there is nothing to read yet.
        while True:
            await trio.lowlevel.wait_readable(self._socket)
            try:
                return os.read(self._socket.fileno(), _READ)
            except BlockingIOError:
                pass
            except OSError as error:
                raise trio.BrokenResourceError from error

    async def _rest_of_head(self) -> bytes:
        with trio.CancelScope(deadline=self._head_deadline):
            return bytes(await self._stream.receive_some(_READ))
        raise Refused(408, "the request took too long")

    async def more_body(self, message: Message) -> bool:
        """Read on within a body; False when the client has gone. Raises Refused."""
        reader = self._reader
        if reader.refusal is not None:
            raise reader.refusal
        now = trio.current_time()
        if not self._body_begun:
            self._body_begun = now
        deadline = self._limits.body_deadline(self._body_begun, now, self._body_received)
        left = reader.body_left(message)
        data = await self._part_of_body(left, deadline)
        if data is None:
            raise Refused(408, "the body took too long")
        if not data:
            return False
        self._body_received += len(data)
        if left is not None:
            reader.take(message, data)
            if message.complete:
                self._wake_at(1)
            return True
        reader.feed(data)
        if reader.refusal is not None and not message.complete:
            raise reader.refusal
        return True

    async def _part_of_body(self, left: int | None, deadline: float) -> bytes | None:
        """Return some bytes of those that are left of a body; b"" if the client is gone, None if there are none yet."""
        most = _READ_OF_LONG_BODY if left is None else min(left, _READ_OF_LONG_BODY)
        if self._socket is None or left is None or not _WAITS_FOR_MUCH:
            with trio.CancelScope(deadline=deadline):
                return bytes(await self._stream.receive_some(most))
            return None
        # A turn of ours costs more than to copy what comes in one packet, or ten.
        self._wake_at(most)
        while True:
            with trio.CancelScope(deadline=deadline) as patience:
                await trio.lowlevel.wait_readable(self._socket)
            try:
                # After the deadline, too: it may be less than was waited for.
                return os.read(self._socket.fileno(), most)
            except BlockingIOError:
                if patience.cancelled_caught:
                    return None
            except OSError as error:
                raise trio.BrokenResourceError from error

    def _wake_at(self, count: int) -> None:
        """Wait for so many bytes, or the end of the connection, whenever something is read from now on."""
        if count != self._woken_at and self._socket is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)
            self._woken_at = count

    async def _serve(self, message: Message) -> None:
        application = self._application
        exchange = _Exchange(self, message)
        path, _, query_string = message.target.partition(b"?")
        headers = message.headers
        request = RawRequest(
            message.method,
            path,
            query_string,
            headers,
            application.client_addresses.of(self._peer[0], headers),
            None if message.complete and not message.body else Body(exchange.receive),
            has_bare_query=message.target.endswith(b"?"),
        )
        response: Response | None = None
        found = application.find(request)
        if isinstance(found, Response):
            response = found
        elif application.goes_straight(found[0]):
            when_gone = self.when_gone if Disconnects.available else None
            response = await application.respond(request, *found, exchange.receive, when_gone)
        else:
            scope = http_scope(
                message.version,
                message.method,
                message.target,
                headers,
                peer=self._peer,
                is_secure=isinstance(self._stream, trio.SSLStream),
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
            await self._read_away(message)
        self._body_begun = 0.0
        self._body_received = 0
        if self._reader.in_head:
            self._head_deadline = trio.current_time() + self._limits.head_seconds

    async def _read_away(self, message: Message) -> None:
        """Read what is left of a body, so that the next request can be found; or end the connection well."""
        if message.keep_alive:
            try:
                while not message.complete:
                    message.body.clear()
                    if not await self.more_body(message):
                        message.keep_alive = False
                        return
            except Refused:
                message.keep_alive = False  # it has been answered already
            message.body.clear()
        else:
            await self._linger()

    async def send(self, data: bytes) -> None:
        """Send, as long as the client goes on taking it. Raises BrokenResourceError."""
        limits = self._limits
        if len(data) <= limits.send_bytes:
            await self._send_part(data)
            return
        view = memoryview(data)
        for start in range(0, len(view), limits.send_bytes):
            await self._send_part(view[start : start + limits.send_bytes])

    async def _send_part(self, data: bytes | memoryview) -> None:
        if self._socket is not None:
            # Mostly an answer fits into the buffer of the socket, and needs no turn of the scheduler.
            try:
                sent = os.write(self._socket.fileno(), data)
            except BlockingIOError:
                sent = 0
            except OSError as error:
                raise trio.BrokenResourceError from error
            if sent == len(data):
                return
            data = memoryview(data)[sent:]
        with trio.CancelScope(deadline=trio.current_time() + self._limits.send_pause_seconds):
            await self._stream.send_all(data)
            return
        raise trio.BrokenResourceError("the client does not take its answer")

    def when_gone(self, leave: Callable[[], None] | None) -> None:
        """Call `leave` when the client closes its side, or has; None: no longer."""
        self._on_gone = leave
        if leave is None:
            return
        if not self._is_watched:
            self._is_watched = True
            self._lane.disconnects.watch(self._transport, self._note_gone)
        if self._is_gone:
            leave()

    def _watch_no_longer(self) -> None:
        if self._is_watched:
            self._is_watched = False
            self._lane.disconnects.forget(self._transport)

    def _note_gone(self) -> None:
        self._is_gone = True
        if self._on_gone is not None:
            self._on_gone()

    async def disconnected(self) -> None:
        """Wait until the client closes its side. Of what it sends ahead, one read is kept; then we cannot know."""
        while len(self._early) < _READ:
            try:
                data = await self._stream.receive_some(_READ)
            except trio.BrokenResourceError:
                return
            if not data:
                return
            self._early += data
        await trio.sleep_forever()

    async def _linger(self) -> None:
        """Let the client read the answer: closing with unread bytes would reset the connection before it has."""
        if not isinstance(self._stream, trio.SocketStream):
            return
        self._wake_at(1)
        with trio.move_on_after(self._limits.linger_seconds), contextlib.suppress(trio.BrokenResourceError):
            await self._stream.send_eof()
            left = self._limits.linger_bytes
            while left > 0 and (data := await self._stream.receive_some(_READ)):
                left -= len(data)

    async def _converse(self, websocket: WebSocketRoute, message: Message) -> None:
        self._watch_no_longer()
        if not message.complete or message.body_length != 0:
            raise Refused(400, "an upgrade has no body")
        if self._reader.rest:
            raise Refused(400, "a WebSocket begins with our answer")
        headers = {name.decode("latin1"): value.decode("latin1") for name, value in message.headers}
        if headers.get("sec-websocket-version") != "13":
            raise Refused(426, "only version 13 of WebSocket is spoken here")
        if not _WEBSOCKET_KEY.fullmatch(headers.get("sec-websocket-key", "")):
            raise Refused(400, "the key of the WebSocket is missing")
        _, _, query = message.target.partition(b"?")
        try:
            parameters = parse_qs(query.decode("latin1"), max_num_fields=self._limits.headers)
        except ValueError:
            raise Refused(400, "too many parameters") from None
        address = self._application.client_addresses.of(self._peer[0], message.headers)
        stream: Any = _ReadAhead(self._stream, message.head())
        websockets = await _websockets.get()
        async with trio.open_nursery() as nursery:
            with trio.fail_after(self._limits.head_seconds):
                request = await websockets.wrap_server_stream(
                    nursery, stream, max_message_size=websocket.largest_message
                )
                connection = await request.accept()
            with trio.CancelScope() as until_stopped:
                self._lane.idle[until_stopped] = math.inf
                try:
                    await websocket.handle(connection, parameters, headers, address)
                except websockets.ConnectionClosed:
                    pass
                finally:
                    del self._lane.idle[until_stopped]
            with trio.CancelScope(shield=True), trio.move_on_after(1):
                await connection.aclose(_WEBSOCKET_GOING_AWAY if until_stopped.cancelled_caught else 1000)
            nursery.cancel_scope.cancel()

    def goes_on_after(self, message: Message) -> bool:
        """Whether the connection can carry a further request."""
        if not message.keep_alive or self._application.draining:
            return False
        if message.complete:
            return True
        # Who waits for 100 Continue may send its body or not: we could not tell it from the next request.
        length = message.body_length
        return not message.expects_continue and length is not None and length <= self._limits.unread_body_bytes


class _Exchange:
    """One request and its answer; for quart as ASGI's `receive` and `send`."""

    __slots__ = ("_bodiless", "_body_given", "_chunked", "_connection", "_head", "_message", "answered")

    def __init__(self, connection: _Connection, message: Message) -> None:
        self._connection = connection
        self._message = message
        self._body_given = False
        self._chunked = self._bodiless = False
        self._head = b""
        self.answered = False

    async def receive(self) -> Event:
        """Return the next part of the body, and after it that the client has gone. Raises Refused."""
        message = self._message
        if self._body_given:
            await self._connection.disconnected()
            return {"type": "http.disconnect"}
        if message.expects_continue and not message.body and not message.complete:
            message.expects_continue = False
            await self._connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        while not message.body and not message.complete:
            if not await self._connection.more_body(message):
                return {"type": "http.disconnect"}
        body = b"".join(message.body)
        message.body.clear()
        self._body_given = message.complete
        return {"type": "http.request", "body": body, "more_body": not message.complete}

    async def answer(self, response: Response) -> None:
        """Send an answer."""
        body = response.body
        if response.close:
            self._message.keep_alive = False
        if isinstance(body, bytes):
            head = self._begin(response.status, response.headers, len(body))
            self.answered = True
            await self._connection.send(head if self._bodiless else head + body)
            return
        headers, length = _length_apart(response.headers)
        async with contextlib.aclosing(body) as parts:  # type: ignore[type-var]  # handlers give generators
            head = self._begin(response.status, headers, length)
            if not self._bodiless:
                async for part in parts:
                    await self._connection.send(head + self._part(part))
                    head = b""
        await self._connection.send(head + (b"0\r\n\r\n" if self._chunked else b""))
        self.answered = True

    async def send(self, event: Event) -> None:
        """Send a part of an answer, as ASGI has them."""
        if event["type"] == "http.response.start":
            length = None
            headers = []
            for name, value in event["headers"]:
                name = name.lower()
                if name == b"content-length":
                    length = int(value)
                elif name != b"connection":
                    headers.append((name, value))
                elif value.lower() == b"close":
                    self._message.keep_alive = False
            self._head = self._begin(event["status"], headers, length)
            return
        data = self._head + self._part(event.get("body", b""))
        self._head = b""
        if not event.get("more_body"):
            self.answered = True
            if self._chunked:
                data += b"0\r\n\r\n"
        if data:
            await self._connection.send(data)

    def _begin(self, status: int, headers: list[Header], length: int | None) -> bytes:
        """Return the head of the answer, and settle whether the connection goes on after it."""
        message = self._message
        lines = [_STATUS_LINES[status], b"date: ", date(), b"\r\n"]
        for name, value in headers:
            lines += (name, b": ", value, b"\r\n")
        self._bodiless = message.method == "HEAD" or status in (204, 304)
        if length is not None:
            if status != http.HTTPStatus.NO_CONTENT:
                lines.append(b"content-length: %d\r\n" % length)
        elif not self._bodiless:
            if message.version == "1.1":
                self._chunked = True
                lines.append(b"transfer-encoding: chunked\r\n")
            else:
                message.keep_alive = False
        if not self._connection.goes_on_after(message):
            message.keep_alive = False
            lines.append(b"connection: close\r\n")
        elif message.version == "1.0":
            lines.append(b"connection: keep-alive\r\n")
        lines.append(b"\r\n")
        return b"".join(lines)

    def _part(self, body: bytes) -> bytes:
        if self._bodiless or not body:
            return b""
        return b"%x\r\n%b\r\n" % (len(body), body) if self._chunked else body


def _length_apart(headers: list[Header]) -> tuple[list[Header], int | None]:
    """Return the headers without that of the length, and it."""
    length = next((int(value) for name, value in headers if name == b"content-length"), None)
    return [header for header in headers if header[0] != b"content-length"], length


class _ReadAhead:
    """A stream with bytes in front that were read from it already; in all else, attributes too, the stream itself."""

    def __init__(self, stream: Stream, read: bytes) -> None:
        self._stream = stream
        self._read = read

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if self._read:
            await trio.lowlevel.checkpoint()
            read, self._read = self._read, b""
            return read
        return bytes(await self._stream.receive_some(max_bytes))
