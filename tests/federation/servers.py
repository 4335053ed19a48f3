"""Servers that tests talk to: their keys, and a network on which what they answer is written down beforehand."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from tricord.federation.errors import HostUnreachable, PeerUnreachable
from tricord.federation.transport import OpenResponse, Response
from tricord.protocol.identifiers import ServerName
from tricord.protocol.signing import SigningKey

HERE = ServerName("here.example")
THERE = ServerName("there.example")


class HandClock:
    """A clock that stands still until a test moves it."""

    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        self.now = now_ms

    def now_ms(self) -> int:
        return self.now


@dataclass(frozen=True)
class Request:
    """A request as it left."""

    destination: ServerName
    method: str
    uri: str
    headers: Mapping[str, str]
    content: bytes | None

    @property
    def body(self) -> Any:
        return None if self.content is None else orjson.loads(self.content)


Answer = Callable[[Request], Awaitable[Response]]


@dataclass
class ScriptedNetwork:
    """A transport that answers by a function, and remembers what it was asked."""

    answer: Answer | None = None
    requests: list[Request] = field(default_factory=list)
    places: dict[str, Response] = field(default_factory=dict)
    urls: list[str] = field(default_factory=list)

    async def send(
        self,
        destination: ServerName,
        method: str,
        uri: str,
        headers: Mapping[str, str],
        content: bytes | None,
        *,
        timeout_seconds: float,
        max_bytes: int,
    ) -> Response:
        del timeout_seconds, max_bytes
        request = Request(destination, method, uri, headers, content)
        self.requests.append(request)
        if self.answer is None:
            raise PeerUnreachable(destination, "is not there")
        return await self.answer(request)

    @contextlib.asynccontextmanager
    async def open(
        self, destination: ServerName, uri: str, headers: Mapping[str, str], *, timeout_seconds: float
    ) -> AsyncIterator[OpenResponse]:
        answer = await self.send(
            destination, "GET", uri, headers, None, timeout_seconds=timeout_seconds, max_bytes=1 << 20
        )
        yield OpenResponse(answer.status, answer.headers, in_parts(answer.body))

    @contextlib.asynccontextmanager
    async def open_url(self, url: str, *, timeout_seconds: float) -> AsyncIterator[OpenResponse]:
        del timeout_seconds
        self.urls.append(url)
        if url not in self.places:
            raise HostUnreachable(f"{url} is not there")
        answer = self.places[url]
        yield OpenResponse(answer.status, answer.headers, in_parts(answer.body))

    def says(self, value: Any, status: int = 200) -> None:
        """Answer every request from now on with JSON, or with bytes."""
        body = value if isinstance(value, bytes) else orjson.dumps(value)

        async def answer(_: Request) -> Response:
            return Response(status, {"content-type": "application/json"}, body)

        self.answer = answer


async def in_parts(body: bytes, size: int = 7) -> AsyncIterator[bytes]:
    """Return bytes in small parts."""
    for start in range(0, len(body), size):
        yield body[start : start + size]


def new_key() -> SigningKey:
    return SigningKey.generate()
