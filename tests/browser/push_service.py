"""The push service of Chromium's maker, as much of it as a browser and a homeserver see.

Chromium checks in and registers by HTTP, keeps a connection open, and gets what application servers send on it,
encrypted as it was sent: https://chromium.googlesource.com/chromium/src/+/main/google_apis/gcm/protocol/.
"""

from __future__ import annotations

import contextlib
import itertools
import secrets
import ssl
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

import trio

from tests.federation.web import Host, Seen, hosting, reply

_LOGIN, _LOGGED_IN, _MESSAGE = 2, 3, 8
_VERSION = b"\x29"
_PING, _PONG = 0, 1


@dataclass
class PushService:
    """What it knows of browsers, and what it was sent."""

    web: Host = field(default_factory=Host)
    stream_port: int = 0
    taken: list[Seen] = field(default_factory=list)
    _registered: dict[str, tuple[str, str]] = field(default_factory=dict)
    """By token: the application server's key, and the subscription's name in the browser."""
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _messages: tuple[trio.MemorySendChannel[bytes], trio.MemoryReceiveChannel[bytes]] = field(
        default_factory=lambda: trio.open_memory_channel[bytes](100)
    )

    @property
    def options(self) -> list[str]:
        """What Chromium is started with to use this service."""
        web = f"https://localhost:{self.web.port}"
        return [
            f"--gcm-checkin-url={web}/checkin",
            f"--gcm-registration-url={web}/register",
            f"--gcm-mcs-endpoint=https://localhost:{self.stream_port}",
            "--ignore-certificate-errors",
        ]

    def answer(self, seen: Seen) -> bytes:
        """Answer a browser, or an application server."""
        path = urlsplit(seen.target).path
        if path == "/checkin":
            number = struct.pack("<Q", secrets.randbits(62) | 1)
            body = _varint(1, 1) + _field(7, 1, number) + _field(8, 1, number)
            return reply(body, "Content-Type: application/x-protobuffer")
        if path == "/register":
            asked = {name: values[0] for name, values in parse_qs(seen.body.decode()).items()}
            token = secrets.token_urlsafe(24)
            # Chromium registers itself, too; a subscription of a page has a name.
            self._registered[token] = asked["sender"], asked.get("X-subtype", "")
            return reply(f"token={token}".encode(), "Content-Type: text/plain")
        return self._take(path.rpartition("/")[2], seen)

    def _take(self, token: str, seen: Seen) -> bytes:
        if token not in self._registered:
            return reply(b"", status=410)
        self.taken.append(seen)
        sender, subtype = self._registered[token]
        # https://www.rfc-editor.org/rfc/rfc8292#section-4.2: only the one for which the browser subscribed may send.
        if f"k={sender}" not in seen.headers["authorization"].split(", "):
            return reply(b"", status=403)
        data = {"content-encoding": seen.headers["content-encoding"], "subtype": subtype}
        pairs = b"".join(_text(7, _text(1, name) + _text(2, value)) for name, value in data.items())
        number = str(next(self._numbers))
        message = _text(3, sender) + _text(5, "org.chromium.linux") + pairs + _text(9, number) + _text(21, seen.body)
        self._messages[0].send_nowait(_framed(_MESSAGE, message))
        return reply(b"", status=201)

    async def stream(self, stream: trio.abc.Stream) -> None:
        """Keep the connection of a browser."""
        incoming = _Incoming(stream)
        assert await incoming.exactly(1) == _VERSION
        kind, _ = await incoming.message()
        assert kind == _LOGIN
        await stream.send_all(_VERSION + _framed(_LOGGED_IN, _text(1, "login")))

        async def answer_pings() -> None:
            with contextlib.suppress(trio.BrokenResourceError):
                while True:
                    kind, _ = await incoming.message()
                    if kind == _PING:
                        self._messages[0].send_nowait(_framed(_PONG, b""))
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer_pings)
            async for data in self._messages[1]:
                await stream.send_all(data)


class _Incoming:
    """Messages from a browser: a tag, a length, and as many bytes."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._data = bytearray()

    async def exactly(self, count: int) -> bytes:
        while len(self._data) < count:
            some = await self._stream.receive_some(65_536)
            if not some:
                raise trio.BrokenResourceError("the browser has gone")
            self._data += some
        found = bytes(self._data[:count])
        del self._data[:count]
        return found

    async def message(self) -> tuple[int, bytes]:
        kind = (await self.exactly(1))[0]
        length, shift = 0, 0
        while True:
            byte = (await self.exactly(1))[0]
            length |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return kind, await self.exactly(length)


@asynccontextmanager
async def push_service(tls: Callable[[], ssl.SSLContext]) -> AsyncIterator[PushService]:
    """Run one while inside the block."""
    service = PushService()
    service.web.answer = service.answer

    async def serve(stream: trio.abc.Stream) -> None:
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await service.stream(trio.SSLStream(stream, tls(), server_side=True))

    async with hosting(service.web, tls()), trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        service.stream_port = listeners[0].socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        yield service
        nursery.cancel_scope.cancel()


def _framed(kind: int, body: bytes) -> bytes:
    return bytes([kind]) + _base128(len(body)) + body


def _text(number: int, value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return _field(number, 2, _base128(len(data)) + data)


def _varint(number: int, value: int) -> bytes:
    return _field(number, 0, _base128(value))


def _field(number: int, wire_type: int, data: bytes) -> bytes:
    return _base128(number << 3 | wire_type) + data


def _base128(value: int) -> bytes:
    output = bytearray()
    while value > 0x7F:
        output.append(value & 0x7F | 0x80)
        value >>= 7
    output.append(value)
    return bytes(output)
