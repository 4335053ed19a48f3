"""A keep-alive HTTP/1.1 connection that costs the load generator little, so that it is not what gets measured."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import orjson
import trio

from bench.answer import Answer, Refused

__all__ = ["Connection", "Refused"]


class Connection:
    """One connection of one user. Requests go one after another."""

    def __init__(self, base_url: str, access_token: str = "") -> None:
        parts = urlsplit(base_url)
        self._tls = parts.scheme == "https"
        self._host = parts.hostname or "127.0.0.1"
        self._port = parts.port or (443 if self._tls else 80)
        self._token = f"Authorization: Bearer {access_token}\r\n" if access_token else ""
        self._stream: trio.abc.Stream | None = None

    async def __aenter__(self) -> Self:
        stream: trio.abc.Stream = await trio.open_tcp_stream(self._host, self._port)
        if self._tls:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            stream = trio.SSLStream(stream, context, server_hostname=self._host, https_compatible=True)
        self._stream = stream
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream is not None:
            await trio.aclose_forcefully(self._stream)

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """Return the answer's JSON. Raises Refused."""
        answer = await self.call_raw(method, path, body)
        return orjson.loads(answer)

    async def call_raw(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> bytes:
        """Return the answer's bytes, not parsed. Bytes are sent as they are, all else as JSON. Raises Refused."""
        assert self._stream is not None
        await self._stream.send_all(self.request(method, path, body, content_type))
        return await self._answer(f"{method} {path}")

    async def upload(self, path: str, parts: Sequence[bytes], content_type: str) -> bytes:
        """Send the parts of a large body by POST without copying them; return the answer's bytes. Raises Refused."""
        stream = self._stream
        assert isinstance(stream, trio.SocketStream)
        left = [memoryview(each) for each in (self._head("POST", path, sum(map(len, parts)), content_type), *parts)]
        while left:
            sent = await stream.socket.sendmsg(left)
            while left and sent >= len(left[0]):
                sent -= len(left.pop(0))
            if left:
                left[0] = left[0][sent:]
        return await self._answer(f"POST {path}")

    async def _answer(self, asked: str) -> bytes:
        assert self._stream is not None
        answer = Answer()
        while not answer.is_whole:
            data = await self._stream.receive_some(1 << 18)
            if not data:
                raise ConnectionError(f"{asked}: the server closed the connection")
            answer.feed(bytes(data))
        if answer.status >= 400:
            raise Refused(f"{asked}: {answer.status} {answer.body()[:300]!r}")
        return answer.body()

    def request(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> bytes:
        """Return a request as it is sent."""
        content = b"" if body is None else body if isinstance(body, bytes) else orjson.dumps(body)
        return self._head(method, path, len(content), content_type) + content

    def _head(self, method: str, path: str, length: int, content_type: str) -> bytes:
        return (
            f"{method} {path} HTTP/1.1\r\nHost: {self._host}\r\n{self._token}"
            f"Content-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n"
        ).encode()
