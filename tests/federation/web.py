"""Hosts on the loopback that speak HTTP as they are told to, and a DNS that is written down beforehand."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address

import h11
import trio

from tricord.federation.addresses import Address
from tricord.federation.errors import HostUnreachable
from tricord.federation.places import Place

LOOPBACK = "127.0.0.1"


@dataclass
class ScriptedDns:
    """Knows the names that a test gives it, and what it was asked."""

    hosts: dict[str, list[str]] = field(default_factory=dict)
    records: dict[str, list[Place]] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)

    async def addresses(self, host: str) -> list[Address]:
        self.asked.append(host)
        if host in self.hosts:
            return [ip_address(text) for text in self.hosts[host]]
        try:
            return [ip_address(host)]
        except ValueError:
            raise HostUnreachable(f"{host} has no address") from None

    async def services(self, name: str) -> list[Place]:
        self.asked.append(name)
        if name in self.broken:
            raise HostUnreachable(f"{name} cannot be looked up")
        return self.records.get(name, [])


@dataclass
class Seen:
    """A request that a host got."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Host:
    """A host that answers."""

    port: int = 0
    answer: Callable[[Seen], bytes | Awaitable[bytes]] = lambda _: reply(b"{}")
    connections: int = 0
    seen: list[Seen] = field(default_factory=list)
    server_names: list[str | None] = field(default_factory=list)


def reply(body: bytes, *headers: str, status: int = 200) -> bytes:
    """Return an answer as it goes over the wire."""
    lines = [f"HTTP/1.1 {status} OK", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


@asynccontextmanager
async def hosting(host: Host, tls: ssl.SSLContext | None = None, address: str = LOOPBACK) -> AsyncIterator[Host]:
    """Run a host while inside the block."""
    if tls is not None:
        tls.sni_callback = lambda _sock, name, _context: host.server_names.append(name)

    async def serve(stream: trio.abc.Stream) -> None:
        host.connections += 1
        try:
            if tls is not None:
                stream = trio.SSLStream(stream, tls, server_side=True, https_compatible=True)
            await _serve(host, stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError, h11.RemoteProtocolError):
            pass  # whoever asked went away, perhaps in the middle of a request
        finally:
            with trio.move_on_after(1, shield=True):
                await stream.aclose()

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host=address)
        host.port = listeners[0].socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        yield host
        nursery.cancel_scope.cancel()


async def _serve(host: Host, stream: trio.abc.Stream) -> None:
    """Answer requests on a connection until it is closed."""
    connection = h11.Connection(h11.SERVER)
    request: h11.Request | None = None
    body = b""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(bytes(await stream.receive_some(65536)))
        elif isinstance(event, h11.Request):
            request, body = event, b""
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage) and request is not None:
            headers = {name.decode(): value.decode() for name, value in request.headers}
            seen = Seen(request.method.decode(), request.target.decode(), headers, body)
            host.seen.append(seen)
            answer = host.answer(seen)
            await stream.send_all(answer if isinstance(answer, bytes) else await answer)
            connection = h11.Connection(h11.SERVER)
        else:
            return
