"""Sockets to listen on."""

from __future__ import annotations

import errno
import socket

_BACKLOG = 2048


class CannotListen(Exception):
    """An address cannot be listened on; the message says why."""


def open_socket(bind: str) -> socket.socket:
    """Listen on an address. Raises CannotListen."""
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


def base_url(sock: socket.socket, *, is_secure: bool) -> str:
    """Return the URL of who listens on a socket."""
    host, port = sock.getsockname()[:2]
    return f"{'https' if is_secure else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"
