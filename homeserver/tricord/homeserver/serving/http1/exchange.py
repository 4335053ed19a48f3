"""One request and its answer."""

from __future__ import annotations

import contextlib
import http
from typing import TypeVar

import trio

from tricord.homeserver.serving.application import Application
from tricord.homeserver.serving.asgi import Event
from tricord.homeserver.serving.call import Header
from tricord.homeserver.serving.date import date
from tricord.homeserver.serving.errors import ClientDisconnected, Refused
from tricord.homeserver.serving.http1.framing import Message, Reader
from tricord.homeserver.serving.http1.wire import Wire
from tricord.homeserver.serving.response import Response

T = TypeVar("T")

_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in http.HTTPStatus}


class Exchange:
    """One request and its answer; for quart as ASGI's `receive` and `send`."""

    __slots__ = (
        "_application",
        "_bodiless",
        "_body_begun",
        "_body_given",
        "_body_received",
        "_chunked",
        "_head",
        "_message",
        "_reader",
        "_wire",
        "answered",
    )

    def __init__(self, wire: Wire, reader: Reader, application: Application, message: Message) -> None:
        self._wire = wire
        self._reader = reader
        self._application = application
        self._message = message
        # When the body began to be read, and how much of it has come.
        self._body_begun = 0.0
        self._body_received = 0
        self._body_given = False
        self._chunked = self._bodiless = False
        self._head = b""
        self.answered = False

    async def receive(self) -> Event:
        """Return the next part of the body, and after it that the client has gone. Raises Refused."""
        message = self._message
        if self._body_given:
            await self._wire.closed_by_client()
            return {"type": "http.disconnect"}
        if not await self._ask_for_body():
            return {"type": "http.disconnect"}
        while not message.body and not message.complete:
            if not await self._read_on():
                return {"type": "http.disconnect"}
        body = b"".join(message.body)
        message.body.clear()
        self._body_given = message.complete
        return {"type": "http.request", "body": body, "more_body": not message.complete}

    async def receive_into(self, buffer: memoryview) -> int:
        """Put what comes next of a body whose length is known into a buffer; return how much it is, 0 at the end.

        Raises ClientDisconnected and Refused.
        """
        message = self._message
        if not await self._ask_for_body():
            raise ClientDisconnected
        left = self._reader.body_left(message)
        if message.body:
            # It came with the head.
            count = _moved(message.body, buffer)
        elif message.complete or left is None:
            count = 0
        else:
            if self._reader.refusal is not None:
                raise self._reader.refusal
            try:
                count = _in_time(await self._wire.receive_body_into(buffer[:left], self._deadline()))
            except trio.BrokenResourceError:
                raise ClientDisconnected from None
            if not count:
                raise ClientDisconnected
            self._reader.count(message, count)
            self._note_received(count)
        self._body_given = message.complete and not message.body
        return count

    async def _ask_for_body(self) -> bool:
        """Tell a client to send its body, if it waits to be told; False when it has gone."""
        message = self._message
        if message.expects_continue and not message.body and not message.complete:
            message.expects_continue = False
            try:
                await self._wire.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            except trio.BrokenResourceError:
                return False
        return True

    async def _read_on(self) -> bool:
        """Read on within the body; False when the client has gone. Raises Refused."""
        reader, message = self._reader, self._message
        if reader.refusal is not None:
            raise reader.refusal
        left = reader.body_left(message)
        try:
            data = _in_time(await self._wire.receive_body(left, self._deadline()))
        except trio.BrokenResourceError:
            return False
        if not data:
            return False
        if left is None:
            reader.feed(data)
        else:
            reader.take(message, data)
        self._note_received(len(data))
        if left is None and reader.refusal is not None and not message.complete:
            raise reader.refusal
        return True

    def _deadline(self) -> float:
        """Return until when the next part of the body must have come."""
        now = trio.current_time()
        if not self._body_begun:
            self._body_begun = now
        return self._wire.limits.body_deadline(self._body_begun, now, self._body_received)

    def _note_received(self, count: int) -> None:
        self._body_received += count
        if self._message.complete:
            self._wire.wake_at(1)

    async def read_away(self) -> None:
        """Read what is left of the body, so that the next request can be found; or end the connection well."""
        message = self._message
        if message.keep_alive:
            try:
                while not message.complete:
                    message.body.clear()
                    if not await self._read_on():
                        message.keep_alive = False
                        return
            except Refused:
                message.keep_alive = False  # it has been answered already
            message.body.clear()
        else:
            await self._wire.linger()

    async def answer(self, response: Response) -> None:
        """Send an answer."""
        body = response.body
        if response.close:
            self._message.keep_alive = False
        if isinstance(body, bytes):
            head = self._begin(response.status, response.headers, len(body))
            self.answered = True
            await self._wire.send(head if self._bodiless else head + body)
            return
        headers, length = _length_apart(response.headers)
        async with contextlib.aclosing(body) as parts:  # type: ignore[type-var]  # handlers give generators
            head = self._begin(response.status, headers, length)
            if not self._bodiless:
                async for part in parts:
                    await self._wire.send(head + self._part(part))
                    head = b""
        await self._wire.send(head + (b"0\r\n\r\n" if self._chunked else b""))
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
            await self._wire.send(data)

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
        if not self._can_be_followed():
            message.keep_alive = False
            lines.append(b"connection: close\r\n")
        elif message.version == "1.0":
            lines.append(b"connection: keep-alive\r\n")
        lines.append(b"\r\n")
        return b"".join(lines)

    def _can_be_followed(self) -> bool:
        """Whether the connection can carry a further request."""
        message = self._message
        if not message.keep_alive or self._application.draining:
            return False
        if message.complete:
            return True
        # Who waits for 100 Continue may send its body or not: we could not tell it from the next request.
        length = message.body_length
        return not message.expects_continue and length is not None and length <= self._wire.limits.unread_body_bytes

    def _part(self, body: bytes) -> bytes:
        if self._bodiless or not body:
            return b""
        return b"%x\r\n%b\r\n" % (len(body), body) if self._chunked else body


def _in_time(received: T | None) -> T:
    """Return what has come of a body. Raises Refused if nothing has."""
    if received is None:
        raise Refused(408, "the body took too long")
    return received


def _moved(parts: list[bytes], buffer: memoryview) -> int:
    """Move as much of some parts into a buffer as it takes; return how much that is."""
    filled = 0
    while parts and filled < len(buffer):
        part = parts.pop(0)
        count = min(len(part), len(buffer) - filled)
        buffer[filled : filled + count] = part[:count]
        filled += count
        if count < len(part):
            parts.insert(0, part[count:])
    return filled


def _length_apart(headers: list[Header]) -> tuple[list[Header], int | None]:
    """Return the headers without that of the length, and it."""
    length = next((int(value) for name, value in headers if name == b"content-length"), None)
    return [header for header in headers if header[0] != b"content-length"], length
