"""A network between the servers of a test: real requests over loopback, on roads that the test can close."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

import httpx
import trio

from tests.servers import AUTHORITIES
from tricord.federation.errors import HostUnreachable, PeerAnswerInvalid, PeerUnreachable
from tricord.federation.transport import OpenResponse, Outside, Response
from tricord.protocol.identifiers import ServerName


@dataclass
class Network:
    """Where each server is, and which of them cannot reach each other."""

    urls: dict[ServerName, str] = field(default_factory=dict)
    requests: list[tuple[ServerName, ServerName, str, str]] = field(default_factory=list)
    """Every request that was made: from, to, method, path and query."""
    places: dict[str, str] = field(default_factory=dict)
    """Where on the loopback other URLs are found."""
    outside: Outside | None = None
    """What answers for hosts that are no servers; None: the real ones."""
    places_asked: list[str] = field(default_factory=list)
    gates: dict[str, trio.Event] = field(default_factory=dict)
    """Requests whose path has the one in it wait for the other."""
    _parted: set[frozenset[ServerName]] = field(default_factory=set)

    def part(self, one: ServerName, other: ServerName) -> None:
        """Close the road between two servers."""
        self._parted.add(frozenset((one, other)))

    def heal(self) -> None:
        """Open all roads."""
        self._parted.clear()

    def is_open(self, one: ServerName, other: ServerName) -> bool:
        """Return whether two servers can reach each other."""
        return frozenset((one, other)) not in self._parted and other in self.urls

    def transport_of(self, server: ServerName) -> Road:
        """Return the network as a server sees it."""
        return Road(self, server)


class Road:
    """Implements Transport for one server."""

    def __init__(self, network: Network, origin: ServerName) -> None:
        self._network = network
        self._origin = origin
        self._client = httpx.AsyncClient(verify=AUTHORITIES, timeout=30)

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
        """Carry a request, if the road is open, there and back."""
        self._network.requests.append((self._origin, destination, method, uri))
        for held, gate in list(self._network.gates.items()):
            if held in uri:
                await gate.wait()
        if not self._network.is_open(self._origin, destination):
            raise PeerUnreachable(destination, "the road is closed")
        url = self._network.urls[destination] + uri
        body = bytearray()
        try:
            async with self._client.stream(
                method, url, headers=dict(headers), content=content, timeout=timeout_seconds
            ) as answer:
                async for part in answer.aiter_bytes():
                    body += part
                    if len(body) > max_bytes:
                        raise PeerAnswerInvalid(destination, "the answer is too large")
        except httpx.TransportError as error:
            raise PeerUnreachable(destination, repr(error)) from error
        if not self._network.is_open(self._origin, destination):
            raise PeerUnreachable(destination, "the road was closed before the answer")
        return Response(answer.status_code, dict(answer.headers), bytes(body))

    @contextlib.asynccontextmanager
    async def open(
        self, destination: ServerName, uri: str, headers: Mapping[str, str], *, timeout_seconds: float
    ) -> AsyncIterator[OpenResponse]:
        """Carry a request, and its answer as it comes."""
        self._network.requests.append((self._origin, destination, "GET", uri))
        if not self._network.is_open(self._origin, destination):
            raise PeerUnreachable(destination, "the road is closed")
        url = self._network.urls[destination] + uri
        async with self._client.stream("GET", url, headers=dict(headers), timeout=timeout_seconds) as answer:
            yield OpenResponse(answer.status_code, dict(answer.headers), answer.aiter_bytes())

    @contextlib.asynccontextmanager
    async def open_url(self, url: str, *, timeout_seconds: float) -> AsyncIterator[OpenResponse]:
        """Carry a request to a place that is no server's."""
        self._network.places_asked.append(url)
        if url not in self._network.places:
            raise HostUnreachable("there is nobody")
        async with self._client.stream("GET", self._network.places[url], timeout=timeout_seconds) as answer:
            yield OpenResponse(answer.status_code, dict(answer.headers), answer.aiter_bytes())

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()
