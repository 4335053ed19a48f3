"""Listening, and stopping well: no new connections, what is under way may end, what waits is let go."""

from __future__ import annotations

import contextlib
import errno
import socket
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog
import trio
from hypercorn.config import Config
from hypercorn.trio.worker_context import WorkerContext

from tricord.homeserver.serving import limits
from tricord.homeserver.serving.asgi import Application
from tricord.homeserver.serving.call import WebSocketRoute
from tricord.homeserver.serving.lane import Lane

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


@contextlib.asynccontextmanager
async def listening(listeners: Sequence[Listener], *, drain_seconds: float = 8) -> AsyncIterator[list[str]]:
    """Serve while inside the block, which gets the base URLs; then drain for at most `drain_seconds`.

    Raises CannotListen.
    """
    with contextlib.ExitStack() as stack:
        opened = [(listener, stack.enter_context(_socket(listener.bind))) for listener in listeners]
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as accepting:
                context = WorkerContext(None)
                lanes = []
                for listener, sock in opened:
                    lane = Lane(listener.application, listener.websockets, _hypercorn_config(listener), context)
                    lanes.append(lane)
                    accepting.start_soon(_accept, listener, sock, lane, connections)
                try:
                    yield [_url(listener, sock) for listener, sock in opened]
                finally:
                    accepting.cancel_scope.cancel()
            for listener in listeners:
                listener.application.draining.set()
            with trio.CancelScope(shield=True):
                await context.terminated.set()
            for lane in lanes:
                lane.end_idle()
            connections.cancel_scope.deadline = trio.current_time() + drain_seconds


async def _accept(listener: Listener, sock: socket.socket, lane: Lane, connections: trio.Nursery) -> None:
    trio_listener: trio.abc.Listener[trio.SocketStream | trio.SSLStream[trio.SocketStream]]
    trio_listener = trio.SocketListener(trio.socket.from_stdlib_socket(sock))
    if listener.tls_certificate is not None and listener.tls_key is not None:
        trio_listener = trio.SSLListener(
            trio_listener, _tls_context(listener.tls_certificate, listener.tls_key), https_compatible=True
        )
    await trio.serve_listeners(lane.serve, [trio_listener], handler_nursery=connections)


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


def _tls_context(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2", "http/1.1"])
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise CannotListen(f"{certificate} and {key} are not a certificate and its key: {error}") from error
    return context


def _hypercorn_config(listener: Listener) -> Config:
    config = Config()
    config.accesslog = None
    config.errorlog = None
    config.keep_alive_timeout = limits.IDLE_SECONDS
    config.keep_alive_max_requests = 1_000_000
    config.read_timeout = int(limits.IDLE_SECONDS)
    config.ssl_handshake_timeout = limits.HANDSHAKE_SECONDS
    config.h11_max_incomplete_size = limits.HEAD_BYTES
    config.h2_max_header_list_size = limits.HEAD_BYTES
    config.include_server_header = False
    config.include_date_header = False
    if listener.tls_certificate is not None:
        config.certfile, config.keyfile = str(listener.tls_certificate), str(listener.tls_key)
    return config


def _url(listener: Listener, sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    scheme = "http" if listener.tls_certificate is None else "https"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
