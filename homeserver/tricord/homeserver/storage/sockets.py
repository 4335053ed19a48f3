"""Sockets to PostgreSQL, over TCP or a unix path, and TLS on top of them."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
from typing import Any

import trio
from asyncpg.connect_utils import SSLMode

from tricord.homeserver.storage.errors import DatabaseUnavailable

Address = str | tuple[str, int]

_SSL_REQUEST = 80877103
_RECEIVE = 1 << 16
# A query may be silent for hours, a dead machine must not be: asked after 30 s, given up after 60.
_KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 60_000}


class Tls:
    """TLS between the socket and the protocol, in memory."""

    def __init__(self, context: ssl.SSLContext, server_hostname: str) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_hostname)

    async def handshake(self, stream: trio.SocketStream) -> None:
        """Agree with the server. Raises OSError (of which ssl.SSLError is one)."""
        while True:
            try:
                self._object.do_handshake()
            except ssl.SSLWantReadError:
                await stream.send_all(self._outgoing.read())
                data = await stream.receive_some(_RECEIVE)
                if not data:
                    raise ConnectionError("the server closed the connection during the TLS handshake") from None
                self._incoming.write(data)
            except ssl.SSLError:
                # Tell the server why, for its log.
                with contextlib.suppress(trio.BrokenResourceError):
                    await stream.send_all(self._outgoing.read())
                raise
            else:
                await stream.send_all(self._outgoing.read())
                return

    def encrypt(self, data: bytes) -> bytes:
        """Return what goes over the wire."""
        self._object.write(data)
        return self._outgoing.read()

    def decrypt(self, data: bytes) -> bytes:
        """Return what is complete so far. Raises ssl.SSLError."""
        self._incoming.write(data)
        parts = []
        try:
            while part := self._object.read(_RECEIVE):
                parts.append(part)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            # The server's last words come before its goodbye.
            if not parts:
                raise
        return b"".join(parts)


async def dial(address: Address, params: Any) -> tuple[socket.socket, Tls | None]:
    """Connect, with TLS if asyncpg's connection parameters ask for it and the server has it."""
    if isinstance(address, str):
        return await _unix_socket(address), None
    stream = await trio.open_tcp_stream(*address)
    tls = None
    try:
        if params.ssl:  # None or False: not wanted
            await stream.send_all(struct.pack("!ll", 8, _SSL_REQUEST))
            # One byte, not more: whatever else is there was not sent under TLS.
            if await stream.receive_some(1) == b"S":
                context = params.ssl if isinstance(params.ssl, ssl.SSLContext) else ssl.create_default_context()
                tls = Tls(context, address[0])
                await tls.handshake(stream)
            elif params.sslmode >= SSLMode.require:
                raise DatabaseUnavailable(f"{address[0]}:{address[1]} has no TLS, and the URL demands it")
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return _plain(stream.socket), tls


async def dial_again(address: Address, other: socket.socket) -> socket.socket:
    """Connect to where another socket is connected to: a name may stand for several servers."""
    if isinstance(address, str):
        return await _unix_socket(address)
    sock = trio.socket.socket(other.family, socket.SOCK_STREAM)
    try:
        await sock.connect(other.getpeername())
    except BaseException:
        sock.close()
        raise
    return _plain(sock)


async def _unix_socket(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        while True:
            try:
                sock.connect(path)
            except BlockingIOError:
                # The backlog is full. Unlike TCP, AF_UNIX is then *not* connecting: ask again.
                await trio.sleep(0.002)
            else:
                return sock
    except BaseException:
        sock.close()
        raise


def _plain(sock: trio.socket.SocketType) -> socket.socket:
    plain = socket.socket(fileno=sock.detach())
    plain.setblocking(False)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        if hasattr(socket, name):  # not all on macOS
            plain.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return plain
