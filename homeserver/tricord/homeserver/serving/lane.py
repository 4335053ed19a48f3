"""The HTTP/1.1 lane: httptools parses, the connection's own task serves, and an answer is one send.

hypercorn's own way through HTTP/1.1 costs about ten times as much (a task, a channel and a timer for each request).
What the lane does not speak it hands over with the bytes read so far: HTTP/2 (by ALPN or prior knowledge) and h2c
upgrades to hypercorn, WebSockets to trio-websocket.

Framing is strict, since a proxy in front may read a request differently: llhttp's lenient modes stay off, what it lets
pass is checked here, and after any doubt the connection is closed.
"""

from __future__ import annotations

import http
from collections.abc import Mapping, MutableMapping
from typing import Any
from urllib.parse import parse_qs

import httptools
import structlog
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from trio_websocket import ConnectionClosed, wrap_server_stream

from tricord.homeserver.serving import limits
from tricord.homeserver.serving.asgi import Application, ClientDisconnected
from tricord.homeserver.serving.call import Header, WebSocketRoute

_log = structlog.get_logger(__name__)

_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in http.HTTPStatus}
_READ = 65_536
_HTTP2_PREFACE = b"PRI * HTTP/2"


class _Refused(Exception):
    """The bytes are not a request that we take; the connection ends with this status."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status
        self.words = words


class _Message:
    """A request as far as it has been read."""

    __slots__ = (
        "body",
        "complete",
        "expects_continue",
        "headers",
        "keep_alive",
        "method",
        "target",
        "upgrade",
        "version",
    )

    def __init__(self) -> None:
        self.target = b""
        self.headers: list[Header] = []
        self.body: list[bytes] = []
        self.complete = False
        self.expects_continue = False
        self.method = ""
        self.version = "1.1"
        self.keep_alive = True
        self.upgrade = b""


class _Reader:
    """What httptools calls while it parses. `ready` holds requests whose headers are complete, in order."""

    def __init__(self) -> None:
        self.parser = httptools.HttpRequestParser(self)
        self.ready: list[_Message] = []
        self._current: _Message | None = None
        self._head_bytes = 0
        self._arrived = 0

    @property
    def in_head(self) -> bool:
        """Whether a request has begun whose headers are not complete."""
        return self._current is not None and self._current not in self.ready and not self._current.complete

    def feed(self, data: bytes) -> None:
        self._arrived = 0
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass
        except httptools.HttpParserCallbackError as error:
            if isinstance(error.__context__, _Refused):
                raise error.__context__ from None
            raise
        except httptools.HttpParserError as error:
            raise _Refused(400, f"not HTTP: {error}") from None

    def on_message_begin(self) -> None:
        self._current = _Message()
        self._head_bytes = 0
        self._arrived += 1
        if self._arrived > limits.PIPELINED:
            raise _Refused(400, "too many requests at once")

    def on_url(self, part: bytes) -> None:
        message = self._message
        message.target += part
        self._count(len(part))
        if len(message.target) > limits.TARGET_BYTES:
            raise _Refused(414, "the request target is too long")

    def on_header(self, name: bytes, value: bytes) -> None:
        headers = self._message.headers
        headers.append((name.lower(), value))
        self._count(len(name) + len(value) + 4)
        if len(headers) > limits.HEADERS:
            raise _Refused(431, "too many headers")

    def on_headers_complete(self) -> None:
        message = self._message
        message.method = self.parser.get_method().decode()
        message.version = self.parser.get_http_version()
        message.keep_alive = self.parser.should_keep_alive()
        _check_head(message)
        self.ready.append(message)

    def on_body(self, part: bytes) -> None:
        self._message.body.append(part)

    def on_message_complete(self) -> None:
        self._message.complete = True

    @property
    def _message(self) -> _Message:
        if self._current is None:
            raise _Refused(400, "not HTTP")
        return self._current

    def _count(self, more: int) -> None:
        self._head_bytes += more
        if self._head_bytes > limits.HEAD_BYTES:
            raise _Refused(431, "the headers are too large")


def _check_head(message: _Message) -> None:
    """Refuse what two readers could read differently, even where the parser lets it pass."""
    hosts = lengths = encodings = 0
    for name, value in message.headers:
        if name == b"host":
            hosts += 1
        elif name == b"content-length":
            lengths += 1
            if not value.isdigit():
                raise _Refused(400, "Content-Length is not a number")
        elif name == b"transfer-encoding":
            encodings += 1
            if value.lower() != b"chunked":
                raise _Refused(400, "Transfer-Encoding is not chunked")
        elif name == b"expect":
            message.expects_continue = value.lower() == b"100-continue"
        elif name == b"upgrade":
            message.upgrade = value.lower()
        if not name or b"\0" in value or b"\r" in value or b"\n" in value:
            raise _Refused(400, "a header holds a control character")
    if message.version not in ("1.0", "1.1"):
        raise _Refused(505, "only HTTP/1.1 and HTTP/2 are spoken here")
    if hosts > 1 or (hosts == 0 and message.version == "1.1"):
        raise _Refused(400, "there must be one Host")
    if lengths > 1 or encodings > 1 or (lengths and encodings):
        raise _Refused(400, "the length of the body is given twice")
    if encodings and message.version == "1.0":
        raise _Refused(400, "HTTP/1.0 has no Transfer-Encoding")
    if not message.target.startswith(b"/") and message.target != b"*":
        raise _Refused(400, "the request target is not a path")


class Lane:
    """The parts that all connections of a listener share.

    `idle` holds the scopes of connections that only wait: for a next request, or as WebSockets. They end when the
    server stops.
    """

    def __init__(
        self,
        application: Application,
        websockets: Mapping[bytes, WebSocketRoute],
        config: Config,
        context: WorkerContext,
    ) -> None:
        self.application = application
        self.websockets = websockets
        self.config = config
        self.context = context
        self.idle: set[trio.CancelScope] = set()

    def end_idle(self) -> None:
        """Let go of everybody who only waits."""
        for scope in self.idle:
            scope.cancel()

    async def serve(self, stream: trio.SocketStream | trio.SSLStream[trio.SocketStream]) -> None:
        """Serve one connection to its end."""
        try:
            await _Connection(self, stream).run()
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError):
            pass  # the client is gone, and nobody is left to tell
        except Exception:  # noqa: BLE001  # whatever it is, it must harm this connection only
            _log.exception("a connection failed")
        finally:
            with trio.CancelScope(shield=True), trio.move_on_after(1):
                await stream.aclose()


class _Connection:
    def __init__(self, lane: Lane, stream: trio.SocketStream | trio.SSLStream[trio.SocketStream]) -> None:
        self._lane = lane
        self._stream = stream
        self._transport = stream.transport_stream if isinstance(stream, trio.SSLStream) else stream
        self._reader = _Reader()
        # What was read since the connection was last idle: handed over with an upgrade.
        self._unserved = b""

    async def run(self) -> None:
        stream = self._stream
        if isinstance(stream, trio.SSLStream):
            with trio.move_on_after(limits.HANDSHAKE_SECONDS) as patience:
                await stream.do_handshake()
            if patience.cancelled_caught:
                return
            if stream.selected_alpn_protocol() == "h2":
                await self._hand_to_hypercorn()
                return
        sock = self._transport.socket
        self._client = sock.getpeername()[:2] if sock.family != trio.socket.AF_UNIX else None
        self._server = sock.getsockname()[:2] if sock.family != trio.socket.AF_UNIX else None
        try:
            await self._requests()
        except _Refused as refusal:
            await self._refuse(refusal)

    async def _requests(self) -> None:
        reader = self._reader
        fresh = True
        while not self._lane.application.draining.is_set():
            data = await self._next_head(fresh=fresh)
            if not data:
                return
            if fresh and data.startswith(_HTTP2_PREFACE[: len(data)]) and data[:1] == b"P" and b"PRI" in data[:3]:
                await self._hand_to_hypercorn(data)
                return
            fresh = False
            self._unserved = data if not self._unserved else self._unserved + data
            reader.feed(data)
            first = True
            while reader.ready:
                message = reader.ready.pop(0)
                if message.upgrade and await self._upgraded(message, first=first):
                    return
                first = False
                await self._serve(message)
                if not message.keep_alive:
                    return
            if not reader.in_head:
                self._unserved = b""

    async def _next_head(self, *, fresh: bool) -> bytes:
        """Read on until something came; b"" when the client has closed, was idle for too long, or we stop."""
        if self._reader.in_head or fresh:
            if not self._unserved:
                self._head_deadline = trio.current_time() + limits.HEAD_SECONDS
            with trio.CancelScope(deadline=self._head_deadline) as patience:
                return bytes(await self._stream.receive_some(_READ))
            if patience.cancelled_caught:
                raise _Refused(408, "the request took too long")
        with trio.move_on_after(limits.IDLE_SECONDS) as patience:
            self._lane.idle.add(patience)
            try:
                data = bytes(await self._stream.receive_some(_READ))
            finally:
                self._lane.idle.discard(patience)
            self._head_deadline = trio.current_time() + limits.HEAD_SECONDS
            return data
        return b""

    async def more_body(self) -> bool:
        """Read on within a body; False when the client has gone."""
        with trio.move_on_after(limits.BODY_PAUSE_SECONDS):
            data = await self._stream.receive_some(_READ)
            if not data:
                return False
            self._reader.feed(bytes(data))
            return True
        raise _Refused(408, "the body took too long")

    async def _serve(self, message: _Message) -> None:
        exchange = _Exchange(self, message)
        path, _, query_string = message.target.partition(b"?")
        scope: MutableMapping[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": message.version,
            "method": message.method,
            "scheme": "https" if isinstance(self._stream, trio.SSLStream) else "http",
            "path": path.decode("latin1"),
            "raw_path": path,
            "query_string": query_string,
            "root_path": "",
            "headers": message.headers,
            "client": self._client,
            "server": self._server,
            "extensions": {},
        }
        try:
            await self._lane.application(scope, exchange.receive, exchange.send)
        except ClientDisconnected:
            message.keep_alive = False
            return
        if not exchange.answered:
            # The client was gone before there was an answer, or the server stops.
            message.keep_alive = False
        elif not message.complete:
            # What is left of a small body may already be here; a large one is not read for nothing.
            message.keep_alive = False

    async def send(self, data: bytes) -> None:
        with trio.move_on_after(limits.SEND_PAUSE_SECONDS) as patience:
            await self._stream.send_all(data)
        if patience.cancelled_caught:
            raise trio.BrokenResourceError("the client does not take its answer")

    async def disconnected(self) -> None:
        """Wait until the client closes its side; after bytes of a further request we cannot know, and wait for ever."""
        if isinstance(self._stream, trio.SSLStream):
            await trio.sleep_forever()
        sock = self._transport.socket
        await trio.lowlevel.wait_readable(sock)
        try:
            if await _peek(sock):
                await trio.sleep_forever()
        except OSError:
            pass

    async def _refuse(self, refusal: _Refused) -> None:
        body = b'{"errcode":"M_UNKNOWN","error":"%b"}' % refusal.words.replace('"', "'").encode("ascii", "replace")
        head = _STATUS_LINES[refusal.status]
        with trio.move_on_after(1):
            await self._stream.send_all(
                b"%bcontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
                % (head, len(body), body)
            )
            if isinstance(self._stream, trio.SocketStream):
                # Closing with unread bytes would reset the connection before the client has read why.
                await self._stream.send_eof()
                while await self._stream.receive_some(_READ):
                    pass

    async def _upgraded(self, message: _Message, *, first: bool) -> bool:
        """Hand the connection over; False if we do not know the upgrade, and the request is served as it is."""
        path, _, query = message.target.partition(b"?")
        websocket = self._lane.websockets.get(path)
        if websocket is None and message.upgrade != b"h2c":
            return False
        if not first:
            raise _Refused(400, "an upgrade cannot be pipelined")
        if websocket is None or message.upgrade != b"websocket":
            await self._hand_to_hypercorn(self._unserved)
            return True
        headers = {name.decode("latin1"): value.decode("latin1") for name, value in message.headers}
        parameters = parse_qs(query.decode("latin1"))
        address = str(self._client[0]) if self._client else ""
        async with trio.open_nursery() as nursery:
            with trio.fail_after(limits.HEAD_SECONDS):
                request = await wrap_server_stream(
                    nursery, _with(self._stream, self._unserved), max_message_size=websocket.largest_message
                )
                connection = await request.accept()
            with trio.CancelScope() as until_stopped:
                self._lane.idle.add(until_stopped)
                try:
                    await websocket.handle(connection, parameters, headers, address)
                except ConnectionClosed:
                    pass
                finally:
                    self._lane.idle.discard(until_stopped)
            with trio.CancelScope(shield=True), trio.move_on_after(1):
                await connection.aclose(1001 if until_stopped.cancelled_caught else 1000)
            nursery.cancel_scope.cancel()
        return True

    async def _hand_to_hypercorn(self, read: bytes = b"") -> None:
        lane = self._lane
        application: Any = lane.application  # hypercorn types scopes more narrowly than ASGI does
        await TCPServer(ASGIWrapper(application), lane.config, lane.context, {}, _with(self._stream, read))


class _Exchange:
    """One request and its answer, as ASGI's `receive` and `send`."""

    __slots__ = ("_body_given", "_chunked", "_connection", "_head", "_message", "answered")

    def __init__(self, connection: _Connection, message: _Message) -> None:
        self._connection = connection
        self._message = message
        self._body_given = False
        self._chunked = False
        self._head: list[bytes] = []
        self.answered = False

    async def receive(self) -> MutableMapping[str, Any]:
        message = self._message
        if self._body_given:
            await self._connection.disconnected()
            return {"type": "http.disconnect"}
        if message.expects_continue and not message.body and not message.complete:
            message.expects_continue = False
            await self._connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        while not message.body and not message.complete:
            if not await self._connection.more_body():
                return {"type": "http.disconnect"}
        body = b"".join(message.body)
        message.body.clear()
        self._body_given = message.complete
        return {"type": "http.request", "body": body, "more_body": not message.complete}

    async def send(self, event: MutableMapping[str, Any]) -> None:
        message = self._message
        if event["type"] == "http.response.start":
            head = [_STATUS_LINES[event["status"]]]
            has_length = False
            for name, value in event["headers"]:
                lower = name.lower()
                if lower == b"content-length":
                    has_length = True
                elif lower == b"connection":
                    if value.lower() == b"close":
                        message.keep_alive = False
                    continue
                head.append(b"%b: %b\r\n" % (name, value))
            bodiless = message.method == "HEAD" or event["status"] in (204, 304)
            self._chunked = not has_length and not bodiless and message.version == "1.1"
            if not has_length and not bodiless and message.version == "1.0":
                message.keep_alive = False
            if self._chunked:
                head.append(b"transfer-encoding: chunked\r\n")
            if not message.keep_alive or not message.complete:
                head.append(b"connection: close\r\n")
            head.append(b"\r\n")
            self._head = head
            return
        body = event.get("body", b"")
        parts = self._head
        self._head = []
        if body and message.method != "HEAD":
            parts.append(b"%x\r\n%b\r\n" % (len(body), body) if self._chunked else body)
        if not event.get("more_body"):
            self.answered = True
            if self._chunked:
                parts.append(b"0\r\n\r\n")
        if parts:
            await self._connection.send(b"".join(parts))


async def _peek(sock: trio.socket.SocketType) -> bytes:
    return await sock.recv(1, trio.socket.MSG_PEEK)


def _with(stream: Any, read: bytes) -> Any:
    """Return the stream with bytes in front that were read from it already."""
    return _ReadAhead(stream, read) if read else stream


class _ReadAhead:
    """A stream with bytes in front; in all else, attributes too, the stream itself."""

    def __init__(self, stream: Any, read: bytes) -> None:
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
