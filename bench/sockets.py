"""A thousand WebSockets that cost the load generator little: bare sockets, one `epoll`, no parsing but for counting.

A library for WebSockets in Python would measure itself: it takes longer to parse a message than the server to send one.
Messages are counted by a mark in the bytes, which may be cut anywhere.
"""

from __future__ import annotations

import base64
import resource
import secrets
import select
import socket
import struct
import threading
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

import orjson

PATH = "/_tricord/client/v1/websocket"
_MARK = b'"type":"m.room.message"'
_OPEN_FILES = 16_384
_FIRST_DELTA = b'"type":"delta"'


def allow_many_connections() -> None:
    """Let this process, and the servers that it starts, have many files open."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, _OPEN_FILES), hard))


class Sockets:
    """Opens a WebSocket for each access token, and counts what comes; `deliveries` are the times of arrival."""

    def __init__(self, base_url: str, tokens: Sequence[str]) -> None:
        parts = urlsplit(base_url)
        self._address = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._epoll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._tails: dict[int, bytes] = {}
        self._ended = False
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self.deliveries: list[float] = []
        self.last_heard = 0.0
        """When anything has come last."""
        for token in tokens:
            self._open(token)

    def start(self) -> None:
        """Begin to count. All have had the beginning of what was there for them."""
        self.last_heard = time.perf_counter()
        for each in self._sockets.values():
            each.setblocking(False)
            self._epoll.register(each.fileno(), select.EPOLLIN)
        self._thread.start()

    def close(self) -> None:
        """Close them all."""
        self._ended = True
        self._thread.join()
        self._epoll.close()
        for each in self._sockets.values():
            each.close()

    def _open(self, token: str) -> None:
        each = socket.create_connection(self._address, timeout=60)
        key = base64.b64encode(secrets.token_bytes(16)).decode()
        each.sendall(
            f"GET {PATH} HTTP/1.1\r\nHost: {self._address[0]}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        _receive_until(each, b"\r\n\r\n")
        each.sendall(_frame(orjson.dumps({"type": "sign_in", "access_token": token})))
        # The initial sync: the server would have to keep what of it is not read.
        _receive_first_delta(each)
        self._sockets[each.fileno()] = each
        self._tails[each.fileno()] = b""

    def _listen(self) -> None:
        keep = len(_MARK) - 1
        while not self._ended:
            for number, _ in self._epoll.poll(0.1):
                data = self._sockets[number].recv(1 << 18)
                if not data:
                    self._epoll.unregister(number)
                    continue
                self.last_heard = time.perf_counter()
                data = self._tails[number] + data
                if count := data.count(_MARK):
                    self.deliveries.extend([time.perf_counter()] * count)
                self._tails[number] = data[-keep:]


def _receive_until(each: socket.socket, mark: bytes) -> None:
    data = b""
    while mark not in data:
        more = each.recv(1 << 18)
        if not more:
            raise ConnectionError(f"the server refuses the WebSocket: {data[:300]!r}")
        data += more


def _receive_first_delta(each: socket.socket) -> None:
    data, start = b"", 0
    while True:
        end = _end_of_frame(data, start)
        if end is None or end > len(data):
            more = each.recv(1 << 18)
            if not more:
                raise ConnectionError(f"the server has closed the WebSocket: {data[start : start + 300]!r}")
            data += more
        elif _FIRST_DELTA in data[start:end]:
            return
        else:
            start = end


def _end_of_frame(data: bytes, start: int) -> int | None:
    """Return where a frame ends that a server has sent (RFC 6455, section 5.2); None if too little is known of it."""
    if len(data) < start + 2:
        return None
    length = data[start + 1]
    if length < 126:
        return start + 2 + length
    size = 2 if length == 126 else 8
    if len(data) < start + 2 + size:
        return None
    return start + 2 + size + int.from_bytes(data[start + 2 : start + 2 + size])


def _frame(payload: bytes) -> bytes:
    """Return a masked text frame (RFC 6455, section 5.2); the mask may be all zero."""
    length = len(payload)
    size = bytes((0x80 | length,)) if length < 126 else struct.pack("!BH", 0x80 | 126, length)
    return b"\x81" + size + bytes(4) + payload
