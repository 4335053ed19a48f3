"""Listening, and stopping well: no new connections, what is under way may end, what waits is let go."""

from __future__ import annotations

import contextlib
import errno
import socket
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog
import trio

from tricord.homeserver.serving.asgi import Application
from tricord.homeserver.serving.call import WebSocketRoute
from tricord.homeserver.serving.lane import Lane
from tricord.homeserver.serving.limits import Limits

_log = structlog.get_logger(__name__)

_BACKLOG = 2048


class CannotListen(Exception):
    """An address cannot be listened on; the message says why."""


@dataclass(frozen=True, slots=True)
class Listener:
    """An address, with TLS if there is a certificate, and what answers there."""

    bind: str
    application: Application
    websockets: Mapping[bytes, WebSocketRoute]
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    limits: Limits = field(default_factory=Limits)


@contextlib.asynccontextmanager
async def listening(listeners: Sequence[Listener], *, drain_seconds: float = 8) -> AsyncIterator[list[str]]:
    """Serve while inside the block, which gets the base URLs; then drain for at most `drain_seconds`.

    Raises CannotListen.
    """
    with contextlib.ExitStack() as stack:
        opened = [_Opened(each, stack.enter_context(_socket(each.bind)), _tls_context(each)) for each in listeners]
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as accepting:
                for each in opened:
                    accepting.start_soon(each.accept, connections)
                    accepting.start_soon(each.lane.run)
                try:
                    yield [each.url for each in opened]
                finally:
                    accepting.cancel_scope.cancel()
            for each in opened:
                each.lane.drain()
            connections.cancel_scope.deadline = trio.current_time() + drain_seconds


class _Opened:
    """A listener with its socket."""

    def __init__(self, listener: Listener, sock: socket.socket, tls: ssl.SSLContext | None) -> None:
        self.lane = Lane(listener.application, listener.websockets, listener.limits)
        self.url = _url(listener, sock)
        self._sock = sock
        self._tls = tls

    async def accept(self, connections: trio.Nursery) -> None:
        """Accept connections until cancelled; they go on in `connections`."""
        listener: trio.abc.Listener[trio.SocketStream | trio.SSLStream[trio.SocketStream]]
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(self._sock))
        if self._tls is not None:
            listener = trio.SSLListener(listener, self._tls, https_compatible=True)
        await trio.serve_listeners(self.lane.serve, [listener], handler_nursery=connections)


def _socket(bind: str) -> socket.socket:
    host, _, port = bind.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, int(port)))
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        reasons = {
            errno.EADDRINUSE: "another program listens there: stop it, or change `bind`",
            errno.EACCES: "ports below 1024 need a privilege: put a reverse proxy in front, or choose a higher port",
            errno.EADDRNOTAVAIL: "this machine does not have that address",
        }
        raise CannotListen(f"cannot listen on {bind}: {reasons.get(error.errno or 0, error.strerror)}") from error
    return sock


def _tls_context(listener: Listener) -> ssl.SSLContext | None:
    certificate, key = listener.tls_certificate, listener.tls_key
    if certificate is None or key is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2", "http/1.1"])
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise CannotListen(f"{certificate} and {key} are not a certificate and its key: {error}") from error
    return context


def _url(listener: Listener, sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    scheme = "http" if listener.tls_certificate is None else "https"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
