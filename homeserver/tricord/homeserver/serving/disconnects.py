"""Noticing that clients go away while their answers wait for something to happen.

A task for each waiting request, which reads from its connection, would cost about a sixth of what it takes to wake and
answer it. Here one task asks the kernel for all connections: an epoll of their sockets tells whose other side has
closed, whatever is still to be read from it.
"""

from __future__ import annotations

import select
import sys
from collections.abc import Callable

import trio


class Disconnects:
    """Tells of sockets whose other side has gone."""

    available = sys.platform == "linux"
    """Whether the system can tell."""

    def __init__(self) -> None:
        self._epoll = select.epoll() if sys.platform == "linux" else None
        self._watched: dict[int, Callable[[], None]] = {}

    def watch(self, watched: trio.socket.SocketType, on_gone: Callable[[], None]) -> None:
        """Call `on_gone`, once, when the other side has closed the connection, or has already."""
        if self._epoll is not None:
            self._watched[watched.fileno()] = on_gone
            self._epoll.register(watched.fileno(), select.EPOLLRDHUP | select.EPOLLET)

    def forget(self, watched: trio.socket.SocketType) -> None:
        """Watch a socket no longer. Call it before the socket is closed: its number may be another one's then."""
        if self._epoll is not None and self._watched.pop(watched.fileno(), None) is not None:
            self._epoll.unregister(watched.fileno())

    async def run(self) -> None:
        """Watch, for ever. Nobody is watched after that: connections that are still drained end by themselves."""
        epoll = self._epoll
        if epoll is None:
            return
        try:
            with epoll:
                while True:
                    await trio.lowlevel.wait_readable(epoll.fileno())
                    for number, _ in epoll.poll(0):
                        if (on_gone := self._watched.get(number)) is not None:
                            on_gone()
        finally:
            self._epoll = None
            self._watched.clear()
