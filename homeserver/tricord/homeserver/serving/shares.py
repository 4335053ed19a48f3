"""Accepting no more than one's share, where several processes accept from the same sockets.

Who is quickest would accept a whole burst of connections, and serve them alone from then on. So who has more than
another process leaves what comes to that one; and takes it after all, should it be left waiting.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Collection, Iterator

import trio

from tricord.homeserver.stream.common_memory import Connections

# What an epoll can wait for at least.
_PAUSE_SECONDS = 0.001
_PATIENCE_SECONDS = 0.05
# An eighth more than others is even enough: a large burst is not taken in one by one.
_SLACK = 8


class Share:
    """The connections that this process has, of all that there are."""

    def __init__(
        self,
        connections: Connections,
        others: Callable[[], Collection[int]],
        *,
        patience_seconds: float = _PATIENCE_SECONDS,
    ) -> None:
        self.patience_seconds = patience_seconds
        """How long a connection is left to others that do not come."""
        self._connections = connections
        # The places of the processes that are alive.
        self._others = others

    @property
    def is_full(self) -> bool:
        """Whether another process has fewer, so that it should have the next."""
        count = self._connections.count
        fewest = min(map(self._connections.elsewhere, self._others()), default=count)
        return count > fewest + fewest // _SLACK

    @property
    def is_smallest(self) -> bool:
        """Whether this process does what one of them is enough for: it has the fewest, and the first place of those."""
        count, place = self._connections.count, self._connections.place
        return all((count, place) < (self._connections.elsewhere(other), other) for other in self._others())

    def take(self) -> None:
        """Have one more."""
        self._connections.add(1)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Have it no longer after the block."""
        try:
            yield
        finally:
            self._connections.add(-1)


class SharedListener(trio.abc.Listener[trio.SocketStream]):
    """Accepts what is this process's share."""

    def __init__(self, sock: socket.socket, share: Share) -> None:
        self._socket = trio.socket.from_stdlib_socket(sock)
        self._listener = trio.SocketListener(self._socket)
        self._share = share

    async def accept(self) -> trio.SocketStream:
        """Return the next connection that others do not take."""
        await self._until_it_is_ours()
        stream = await self._listener.accept()
        self._share.take()
        return stream

    async def aclose(self) -> None:
        """Listen no longer."""
        await self._listener.aclose()

    async def _until_it_is_ours(self) -> None:
        left_since = trio.current_time()
        while self._share.is_full:
            asked = trio.current_time()
            await trio.lowlevel.wait_readable(self._socket)
            now = trio.current_time()
            if now - asked > _PAUSE_SECONDS:
                left_since = now  # this one has just come
            if now - left_since > self._share.patience_seconds:
                return
            await trio.sleep(_PAUSE_SECONDS)
