"""Listening, and stopping well: no new connections, what is under way may end, what waits is let go."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog
import trio

from tricord.homeserver.serving.application import Application
from tricord.homeserver.serving.call import WebSocketRoute
from tricord.homeserver.serving.context import Context
from tricord.homeserver.serving.limits import Limits
from tricord.homeserver.serving.negotiation import serve_connection
from tricord.homeserver.serving.shares import Share, SharedListener
from tricord.homeserver.serving.sockets import CannotListen, base_url, open_socket

_log = structlog.get_logger(__name__)


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
async def listening(
    listeners: Sequence[Listener],
    *,
    sockets: Sequence[socket.socket] = (),
    share: Share | None = None,
    drain_seconds: float = 8,
) -> AsyncIterator[list[str]]:
    """Serve while inside the block, which gets the base URLs; then drain for at most `drain_seconds`.

    `sockets` are those of the listeners, where they are open already; others who accept from them leave us our share.
    Raises CannotListen.
    """
    with contextlib.ExitStack() as stack:
        if not sockets:
            sockets = [stack.enter_context(open_socket(each.bind)) for each in listeners]
        opened = [_Opened(each, sock, _tls_context(each), share) for each, sock in zip(listeners, sockets, strict=True)]
        async with trio.open_nursery() as tasks:
            async with trio.open_nursery() as accepting:
                for each in opened:
                    accepting.start_soon(each.accept, tasks)
                    accepting.start_soon(each.context.run)
                try:
                    yield [each.url for each in opened]
                finally:
                    accepting.cancel_scope.cancel()
            for each in opened:
                each.context.drain()
            tasks.cancel_scope.deadline = trio.current_time() + drain_seconds


class _Opened:
    """A listener with its socket."""

    def __init__(
        self, listener: Listener, sock: socket.socket, tls: ssl.SSLContext | None, share: Share | None
    ) -> None:
        self.context = Context(listener.application, listener.websockets, listener.limits)
        self.url = base_url(sock, is_secure=listener.tls_certificate is not None)
        self._sock = sock
        self._tls = tls
        self._share = share

    async def accept(self, tasks: trio.Nursery) -> None:
        """Accept connections until cancelled; they go on in `tasks`."""
        listener: trio.abc.Listener[trio.SocketStream | trio.SSLStream[trio.SocketStream]]
        if self._share is None:
            listener = trio.SocketListener(trio.socket.from_stdlib_socket(self._sock))
        else:
            listener = SharedListener(self._sock, self._share)
        if self._tls is not None:
            listener = trio.SSLListener(listener, self._tls, https_compatible=True)
        await trio.serve_listeners(self._serve, [listener], handler_nursery=tasks)

    async def _serve(self, stream: trio.SocketStream | trio.SSLStream[trio.SocketStream]) -> None:
        with contextlib.nullcontext() if self._share is None else self._share.held():
            await serve_connection(self.context, stream)


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
