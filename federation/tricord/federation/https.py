"""The transport of the real network: a server is found by its name, and spoken to by HTTPS."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping
from pathlib import Path

import trio

from tricord.federation.addresses import AllowedAddresses
from tricord.federation.discovery import Discovery
from tricord.federation.dns import SystemDns
from tricord.federation.errors import AnswerInvalid, HostUnreachable, PeerAnswerInvalid, PeerUnreachable
from tricord.federation.transport import OpenResponse, Response
from tricord.federation.way_out import WayOut
from tricord.federation.well_known import WellKnown
from tricord.protocol.identifiers import ServerName


class HttpsTransport:
    """Brings requests to servers over the network."""

    def __init__(self, discovery: Discovery, way_out: WayOut) -> None:
        self._discovery = discovery
        self._way_out = way_out

    @classmethod
    def on_this_machine(
        cls,
        *,
        allowed_addresses: Iterable[str] = (),
        address_overrides: Mapping[str, str] | None = None,
        trusted_ca: Path | None = None,
    ) -> HttpsTransport:
        """Return the transport that uses the machine's own resolver and certificate authorities, and these settings."""
        dns = SystemDns()
        way_out = WayOut(dns, AllowedAddresses(allowed_addresses), trusted_ca)
        return cls(Discovery(dns, WellKnown(way_out), address_overrides), way_out)

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
        """Send a request to a server, and return its answer whole."""
        with _of_a_peer(destination), trio.move_on_after(timeout_seconds):
            route = await self._discovery.route(destination)
            egress = await self._way_out.open()
            return await egress.send(
                route, method, uri, headers, content, timeout_seconds=timeout_seconds, max_bytes=max_bytes
            )
        raise PeerUnreachable(destination, f"has not answered within {timeout_seconds:.0f} s")

    @contextlib.asynccontextmanager
    async def open(
        self, destination: ServerName, uri: str, headers: Mapping[str, str], *, timeout_seconds: float
    ) -> AsyncIterator[OpenResponse]:
        """Ask a server for something that may be large, and give its answer as it comes."""
        found = None
        deadline = trio.current_time() + timeout_seconds
        with _of_a_peer(destination), trio.move_on_at(deadline):
            found = await self._way_out.open(), await self._discovery.route(destination)
        if found is None:
            raise PeerUnreachable(destination, f"has not been found within {timeout_seconds:.0f} s")
        egress, route = found
        left = max(deadline - trio.current_time(), 0)
        async with contextlib.AsyncExitStack() as stack:
            with _of_a_peer(destination):
                answer = await stack.enter_async_context(egress.open(route, uri, headers, timeout_seconds=left))
            parts = await stack.enter_async_context(contextlib.aclosing(_from_a_peer(destination, answer.parts)))
            yield OpenResponse(answer.status, answer.headers, parts)

    @contextlib.asynccontextmanager
    async def open_url(self, url: str, *, timeout_seconds: float) -> AsyncIterator[OpenResponse]:
        """Ask for what a server has given a URL of."""
        egress = await self._way_out.open()
        async with egress.open_url(url, timeout_seconds=timeout_seconds) as answer:
            yield answer

    async def aclose(self) -> None:
        """Close every connection."""
        await self._way_out.aclose()


@contextlib.contextmanager
def _of_a_peer(destination: ServerName) -> Iterator[None]:
    """Raise PeerUnreachable or PeerAnswerInvalid for what goes wrong with a server's host."""
    try:
        yield
    except HostUnreachable as error:
        raise PeerUnreachable(destination, str(error)) from error
    except AnswerInvalid as error:
        raise PeerAnswerInvalid(destination, str(error)) from error


async def _from_a_peer(destination: ServerName, parts: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    async with contextlib.aclosing(parts):  # type: ignore[type-var]  # a generator
        while True:
            with _of_a_peer(destination):
                part = await anext(parts, b"")
            if not part:
                return
            yield part
