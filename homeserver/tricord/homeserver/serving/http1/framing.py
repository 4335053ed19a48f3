"""From bytes to HTTP/1.1 requests: httptools parses, and what two readers could read differently is refused.

A proxy in front may read a request otherwise than we do, and then somebody's second request is hidden in a first
(request smuggling). llhttp's lenient modes stay off, what it lets pass is checked here, and after any doubt the
connection is closed.
"""

from __future__ import annotations

import httptools

from tricord.homeserver.serving.call import Header
from tricord.homeserver.serving.errors import Refused
from tricord.homeserver.serving.limits import Limits
from tricord.homeserver.serving.request import check_target

# Bytes of chunk sizes, beside `head_bytes`, for each byte of body: a chunk of one byte has five.
_MOST_CHUNK_FRAMING = 8


class Message:
    """A request as far as it has been read."""

    __slots__ = (
        "body",
        "body_length",
        "complete",
        "expects_continue",
        "head_complete",
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
        """Names in lower case."""
        self.head_complete = False
        self.body: list[bytes] = []
        self.body_length: int | None = None
        """As declared; 0 if there is no body, None if it ends when it ends."""
        self.complete = False
        self.expects_continue = False
        self.method = ""
        self.version = "1.1"
        self.keep_alive = True
        self.upgrade = b""

    def head(self) -> bytes:
        """Return the head as it would be written, in normal form."""
        lines = [b"%b %b HTTP/%b" % (self.method.encode(), self.target, self.version.encode())]
        lines += [b"%b: %b" % header for header in self.headers]
        return b"\r\n".join(lines) + b"\r\n\r\n"


class Reader:
    """Reads the requests of one connection. What httptools calls while it parses starts with `on_`."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._parser = httptools.HttpRequestParser(self)
        self.ready: list[Message] = []
        """Requests whose heads are complete, in their order."""
        self.refusal: Refused | None = None
        """Why nothing is read any more; what is ready came before."""
        self.rest = b""
        """What came after a request that asks for an upgrade: not read as HTTP."""
        self._current: Message | None = None
        self._head_bytes = 0
        self._arrived = 0
        # Bytes that were fed and have not come back as a part of a head or body: what httptools keeps.
        self._unseen = 0
        self._body_bytes = 0

    @property
    def in_head(self) -> bool:
        """Whether a request has begun whose head is not complete."""
        return self._current is not None and not self._current.head_complete

    def close(self) -> None:
        """Let go of the parser, which knows the reader too: garbage of that shape is looked for only now and then."""
        del self._parser

    def feed(self, data: bytes) -> None:
        """Read on. What cannot be read is told by `refusal`."""
        if self.refusal is not None:
            return
        current = self._current
        body_bytes = self._body_bytes
        self._arrived = 0
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self.rest = data[upgrade.args[0] :]
            return
        except httptools.HttpParserCallbackError as error:
            if not isinstance(error.__context__, Refused):
                raise
            self.refusal = error.__context__
        except httptools.HttpParserError as error:
            self.refusal = Refused(400, f"not HTTP: {error}")
        # One read is smaller than the limits; only a head or a body's framing that goes over several is counted here.
        if current is None or current is not self._current or current.complete:
            self._unseen = 0
            return
        self._unseen += len(data) - (self._body_bytes - body_bytes)
        if self._unseen <= self._limits.head_bytes or self.refusal is not None:
            return
        if not current.head_complete:
            self.refusal = Refused(431, "the headers are too large")
        elif self._unseen > 2 * self._limits.head_bytes + _MOST_CHUNK_FRAMING * self._body_bytes:
            self.refusal = Refused(400, "the framing of the body is larger than the body")

    def body_left(self, message: Message) -> int | None:
        """Return how much of the body of the request under way is still to come; None if that is not known."""
        return None if message.body_length is None else message.body_length - self._body_bytes

    def take(self, message: Message, part: bytes) -> None:
        """Take in a part of what is left of a body: of that, the parser need not see and copy every byte."""
        message.body.append(part)
        self.count(message, len(part))

    def count(self, message: Message, size: int) -> None:
        """Take note that so much of what is left of a body has come another way."""
        self._body_bytes += size
        if not self.body_left(message):
            message.complete = True
            # The one before still expects the body.
            self._parser = httptools.HttpRequestParser(self)

    def ignore_upgrade(self, message: Message) -> None:
        """Go on with HTTP/1.1 after a request for an upgrade that we do not make; a server may ignore those."""
        message.headers = [header for header in message.headers if header[0] != b"upgrade"]
        message.upgrade = b""
        rest, self.rest = self.rest, b""
        self._parser = httptools.HttpRequestParser(self)
        self._current = None
        # The parser has skipped the body, whose framing it must know: it reads the head again.
        self.feed(message.head() + rest)

    def on_message_begin(self) -> None:
        self._current = Message()
        self._head_bytes = self._body_bytes = 0
        self._arrived += 1
        if self._arrived > self._limits.pipelined:
            raise Refused(400, "too many requests at once")

    def on_url(self, part: bytes) -> None:
        message = self._message
        message.target += part
        self._head_bytes += len(part)
        if self._head_bytes > self._limits.target_bytes:
            raise Refused(414, "the request target is too long")

    def on_header(self, name: bytes, value: bytes) -> None:
        message = self._message
        self._head_bytes += len(name) + len(value) + 4
        if self._head_bytes > self._limits.head_bytes:
            raise Refused(431, "the headers are too large")
        if message.head_complete:
            return  # a trailer: nobody has asked for one, and it must not pass for a header
        message.headers.append((name.lower(), value.rstrip(b" \t")))
        if len(message.headers) > self._limits.headers:
            raise Refused(431, "too many headers")

    def on_headers_complete(self) -> None:
        message = self._message
        message.method = self._parser.get_method().decode()
        message.version = self._parser.get_http_version()
        message.keep_alive = self._parser.should_keep_alive()
        _check_head(message)
        if not self._parser.should_upgrade():
            message.upgrade = b""
        message.head_complete = True
        self._unseen = 0
        self.ready.append(message)

    def on_body(self, part: bytes) -> None:
        self._body_bytes += len(part)
        self._message.body.append(part)

    def on_message_complete(self) -> None:
        self._message.complete = True

    @property
    def _message(self) -> Message:
        if self._current is None:
            raise Refused(400, "not HTTP")
        return self._current


def _check_head(message: Message) -> None:
    """Refuse what two readers could read differently, even where the parser lets it pass."""
    hosts = lengths = encodings = 0
    for name, value in message.headers:
        if name == b"host":
            hosts += 1
        elif name == b"content-length":
            lengths += 1
            if not value.isdigit() or len(value) > 18:
                raise Refused(400, "Content-Length is not a number")
            message.body_length = int(value)
        elif name == b"transfer-encoding":
            encodings += 1
            if value.lower() != b"chunked":
                raise Refused(400, "Transfer-Encoding is not chunked")
        elif name == b"expect":
            if value.lower() != b"100-continue":
                raise Refused(417, "only 100-continue can be expected")
            message.expects_continue = message.version == "1.1"
        elif name == b"upgrade":
            message.upgrade = value.lower()
    if message.version not in ("1.0", "1.1"):
        raise Refused(505, "only HTTP/1.1 and HTTP/2 are spoken here")
    if hosts > 1 or (hosts == 0 and message.version == "1.1"):
        raise Refused(400, "there must be one Host")
    if lengths > 1 or encodings > 1 or (lengths and encodings):
        raise Refused(400, "the length of the body is given twice")
    if encodings and message.version == "1.0":
        raise Refused(400, "HTTP/1.0 has no Transfer-Encoding")
    if not lengths and not encodings:
        message.body_length = 0
    check_target(message.target)
