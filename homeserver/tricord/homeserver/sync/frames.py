"""Sending on a WebSocket without waiting, where the socket takes it: the cheap way to tell a thousand clients.

trio-websocket's own `send_message` costs seven times as much (a state machine, a lock with its checkpoint, a coroutine
chain). A server's text frame is only a header in front of the payload, so it is written straight to the socket, while
holding the connection's send lock: pongs and close frames take the same lock, and cannot land inside of it.
`_stream` and `_stream_lock` are private to trio-websocket, which is pinned; a test (`test_frames.py`) reads
such frames with a client that knows nothing of this.
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from trio_websocket import WebSocketConnection

# Blocked for longer than this, a client has fallen behind; for much longer, it is gone.
PATIENCE_SECONDS = 10
GIVE_UP_SECONDS = 40

_FINAL_TEXT = 0x81


class FellBehind(Exception):
    """The client has taken a message at last, but only after a long time: it must not be relied on to keep up."""


class Gone(Exception):
    """The connection is broken, or the client has stopped reading."""


def text_frame(payload: bytes) -> bytes:
    """Return a text message as one unmasked frame, as servers send it (RFC 6455, section 5.2)."""
    length = len(payload)
    if length < 126:
        return bytes((_FINAL_TEXT, length)) + payload
    if length < 1 << 16:
        return struct.pack("!BBH", _FINAL_TEXT, 126, length) + payload
    return struct.pack("!BBQ", _FINAL_TEXT, 127, length) + payload


class FrameWriter:
    """Writes messages to one client, one at a time: nothing is ever queued for it."""

    def __init__(self, connection: WebSocketConnection) -> None:
        self._stream = connection._stream  # noqa: SLF001 - see above
        self._lock = connection._stream_lock  # noqa: SLF001 - see above
        # Only a bare socket can be written to without waiting; TLS has its own idea of what is on the wire.
        self._socket = getattr(self._stream, "socket", None)

    async def send(self, payload: bytes) -> None:
        """Send a text message; wait only if the client is slow."""
        frame = text_frame(payload)
        try:
            self._lock.acquire_nowait()
        except trio.WouldBlock:
            await self._lock.acquire()
        try:
            sent = self._send_what_fits(frame)
            if sent < len(frame):
                await self._send_rest(frame, sent)
        finally:
            self._lock.release()

    def _send_what_fits(self, frame: bytes) -> int:
        if self._socket is None:
            return 0
        try:
            # Asked each time: the number of a closed socket (then -1) soon belongs to another connection.
            return os.write(self._socket.fileno(), frame)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise Gone from error

    async def _send_rest(self, frame: bytes, sent: int) -> None:
        started = trio.current_time()
        try:
            with trio.fail_after(GIVE_UP_SECONDS):
                await self._stream.send_all(memoryview(frame)[sent:])
        except (trio.TooSlowError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
            # Part of a frame may be on the wire: nothing can follow it.
            await trio.aclose_forcefully(self._stream)
            raise Gone from error
        except trio.Cancelled:
            await trio.aclose_forcefully(self._stream)
            raise
        if trio.current_time() - started > PATIENCE_SECONDS:
            raise FellBehind
