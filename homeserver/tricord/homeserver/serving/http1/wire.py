"""The bytes of a connection, in as few turns of the scheduler as can be; nobody is waited for for ever."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Callable
from typing import TypeVar

import trio

from tricord.homeserver.serving.limits import Limits

_READ = 65_536
# Files come in large bodies: what is read at once, is handed on at once.
_READ_OF_LONG_BODY = 245_760
# Only Linux makes room for as much as a socket is told to wait for.
_WAITS_FOR_MUCH = sys.platform == "linux"

T = TypeVar("T")
Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]


class Wire:
    """A stream, and what was read from it before its time. What its socket can do quickly goes past the stream."""

    __slots__ = ("_socket", "_woken_at", "early", "limits", "stream")

    def __init__(self, stream: Stream, limits: Limits) -> None:
        self.stream = stream
        self.limits = limits
        self.early = b""
        """What came while nobody was to read, but the end of the connection to be noticed."""
        self._socket = stream.socket if isinstance(stream, trio.SocketStream) else None
        # How much must have come before the system wakes us.
        self._woken_at = 1

    @property
    def transport(self) -> trio.socket.SocketType:
        """The socket, below TLS if there is any."""
        return (self.stream.transport_stream if isinstance(self.stream, trio.SSLStream) else self.stream).socket

    @property
    def is_secure(self) -> bool:
        """Whether there is TLS."""
        return isinstance(self.stream, trio.SSLStream)

    async def receive(self) -> bytes:
        """Wait for the next bytes; b"" when the client has closed its side."""
        if self._socket is None:
            return await self.receive_more()
        # As receive_some, without first trying in vain: between two requests there is nothing to read yet.
        while True:
            await trio.lowlevel.wait_readable(self._socket)
            try:
                return os.read(self._socket.fileno(), _READ)
            except BlockingIOError:
                pass
            except OSError as error:
                raise trio.BrokenResourceError from error

    async def receive_more(self) -> bytes:
        """Return the next bytes, which may have come already."""
        return bytes(await self.stream.receive_some(_READ))

    async def receive_body(self, left: int | None, deadline: float) -> bytes | None:
        """Return some bytes of those that are left of a body; b"" if the client is gone, None if there are none yet."""
        most = _READ_OF_LONG_BODY if left is None else min(left, _READ_OF_LONG_BODY)
        if self._socket is None or left is None or not _WAITS_FOR_MUCH:
            with trio.CancelScope(deadline=deadline):
                return bytes(await self.stream.receive_some(most))
            return None
        return await self._read_once(most, lambda descriptor: os.read(descriptor, most), deadline)

    async def receive_body_into(self, buffer: memoryview, deadline: float) -> int | None:
        """Put bytes of a body into a buffer, which is not longer than what is left; return how many, or as above."""
        if self._socket is None or not _WAITS_FOR_MUCH:
            data = await self.receive_body(len(buffer), deadline)
            if data is None:
                return None
            buffer[: len(data)] = data
            return len(data)
        return await self._read_once(len(buffer), lambda descriptor: os.readv(descriptor, [buffer]), deadline)

    async def _read_once(self, most: int, read: Callable[[int], T], deadline: float) -> T | None:
        """Read once so much has come, or what has come by the deadline; None if that is nothing."""
        assert self._socket is not None  # noqa: S101  # who calls has looked
        # A turn of ours costs more than to copy what comes in one packet, or ten.
        self.wake_at(most)
        if most > _READ:
            # While we do not read, the system would hold back its acknowledgements; who sends only a little ahead of
            # them, as those do that probe the network, would send no faster than that.
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        while True:
            with trio.CancelScope(deadline=deadline) as patience:
                await trio.lowlevel.wait_readable(self._socket)
            try:
                # After the deadline, too: it may be less than was waited for.
                return read(self._socket.fileno())
            except BlockingIOError:
                if patience.cancelled_caught:
                    return None
            except OSError as error:
                raise trio.BrokenResourceError from error

    def wake_at(self, count: int) -> None:
        """Wait for so many bytes, or the end of the connection, whenever something is read from now on."""
        if count != self._woken_at and self._socket is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)
            self._woken_at = count

    async def send(self, data: bytes) -> None:
        """Send, as long as the client goes on taking it. Raises BrokenResourceError."""
        most = self.limits.send_bytes
        if len(data) <= most:
            await self._send_part(data)
            return
        view = memoryview(data)
        for start in range(0, len(view), most):
            await self._send_part(view[start : start + most])

    async def _send_part(self, data: bytes | memoryview) -> None:
        if self._socket is not None:
            # Mostly an answer fits into the buffer of the socket, and needs no turn of the scheduler.
            try:
                sent = os.write(self._socket.fileno(), data)
            except BlockingIOError:
                sent = 0
            except OSError as error:
                raise trio.BrokenResourceError from error
            if sent == len(data):
                return
            data = memoryview(data)[sent:]
        with trio.CancelScope(deadline=trio.current_time() + self.limits.send_pause_seconds):
            await self.stream.send_all(data)
            return
        raise trio.BrokenResourceError("the client does not take its answer")

    async def closed_by_client(self) -> None:
        """Wait until the client closes its side. Of what it sends ahead, one read is kept; then we cannot know."""
        while len(self.early) < _READ:
            try:
                data = await self.receive_more()
            except trio.BrokenResourceError:
                return
            if not data:
                return
            self.early += data
        await trio.sleep_forever()

    async def linger(self) -> None:
        """Let the client read the answer: closing with unread bytes would reset the connection before it has."""
        if not isinstance(self.stream, trio.SocketStream):
            return
        self.wake_at(1)
        with trio.move_on_after(self.limits.linger_seconds), contextlib.suppress(trio.BrokenResourceError):
            await self.stream.send_eof()
            left = self.limits.linger_bytes
            while left > 0 and (data := await self.stream.receive_some(_READ)):
                left -= len(data)
