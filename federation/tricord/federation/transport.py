"""How a request gets to another server: what the client needs of the network, and no more."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from tricord.federation.errors import HostUnreachable, PeerUnreachable
from tricord.protocol.identifiers import ServerName


@dataclass(frozen=True, slots=True)
class Response:
    """An answer as it came; the names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class OpenResponse:
    """An answer whose body is still to come, not encoded any further; reading on raises as sending does."""

    status: int
    headers: Mapping[str, str]
    parts: AsyncIterator[bytes]


class Transport(Protocol):
    """Brings requests to servers by their names."""

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
        """Send a request to a server whose identity has been checked, and return its answer whole.

        `uri` is the path with its query. Raises PeerUnreachable, or PeerAnswerInvalid for an answer that is larger than
        `max_bytes` or no HTTP.
        """
        ...

    def open(
        self, destination: ServerName, uri: str, headers: Mapping[str, str], *, timeout_seconds: float
    ) -> AbstractAsyncContextManager[OpenResponse]:
        """Ask (GET) a server for something that may be large, and give its answer as it comes, while inside the block.

        The time is that until the answer begins; one that comes too slowly after that is broken off.
        """
        ...

    def open_url(self, url: str, *, timeout_seconds: float) -> AbstractAsyncContextManager[OpenResponse]:
        """Ask for what a server has given an `https` URL of, following redirects, in the same way.

        Raises HostUnreachable and AnswerInvalid.
        """
        ...


class Fetch(Protocol):
    """What asks hosts that somebody else named; `Egress` is one."""

    async def fetch(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        timeout_seconds: float,
        max_bytes: int,
        max_redirects: int = 0,
    ) -> Response:
        """Return the answer; raise EgressError."""
        ...


class Outside(Protocol):
    """The hosts that somebody else named; `WayOut` is the way to them."""

    async def open(self) -> Fetch:
        """Return what asks them."""
        ...


class NoNetwork:
    """The transport of a server that meets no others."""

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
        """Refuse."""
        del method, uri, headers, content, timeout_seconds, max_bytes
        raise PeerUnreachable(destination, "this server meets no others")

    @contextlib.asynccontextmanager
    async def open(
        self, destination: ServerName, uri: str, headers: Mapping[str, str], *, timeout_seconds: float
    ) -> AsyncIterator[OpenResponse]:
        """Refuse."""
        del uri, headers, timeout_seconds
        raise PeerUnreachable(destination, "this server meets no others")
        yield  # for the type

    @contextlib.asynccontextmanager
    async def open_url(self, url: str, *, timeout_seconds: float) -> AsyncIterator[OpenResponse]:
        """Refuse."""
        del url, timeout_seconds
        raise HostUnreachable("this server meets no others")
        yield  # for the type
