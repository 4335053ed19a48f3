"""From HTTP/1.1 to a WebSocket, by trio-websocket.

Other upgrades are not made: h2c, which HTTP/2 has abandoned, has been a way past the rules of proxies.
"""

from __future__ import annotations

import math
import re
from importlib import import_module
from typing import Any
from urllib.parse import parse_qs

import trio

from tricord.federation.late import Late
from tricord.homeserver.serving.call import WebSocketRoute
from tricord.homeserver.serving.errors import Refused
from tricord.homeserver.serving.http1.framing import Message
from tricord.homeserver.serving.http1.wire import Stream
from tricord.homeserver.serving.limits import Limits

_GOING_AWAY = 1001
_KEY = re.compile(r"[A-Za-z0-9+/]{22}==")

# Not every server is asked for a WebSocket.
_websockets = Late(lambda: import_module("trio_websocket"))


async def converse(
    route: WebSocketRoute,
    message: Message,
    stream: Stream,
    client_address: str,
    limits: Limits,
    idle: dict[trio.CancelScope, float],
) -> None:
    """Upgrade the connection, and let the route have it to its end. Raises Refused."""
    headers = {name.decode("latin1"): value.decode("latin1") for name, value in message.headers}
    if headers.get("sec-websocket-version") != "13":
        raise Refused(426, "only version 13 of WebSocket is spoken here")
    if not _KEY.fullmatch(headers.get("sec-websocket-key", "")):
        raise Refused(400, "the key of the WebSocket is missing")
    _, _, query = message.target.partition(b"?")
    try:
        parameters = parse_qs(query.decode("latin1"), max_num_fields=limits.headers)
    except ValueError:
        raise Refused(400, "too many parameters") from None
    read_again: Any = _ReadAhead(stream, message.head())
    websockets = await _websockets.get()
    async with trio.open_nursery() as nursery:
        with trio.fail_after(limits.head_seconds):
            request = await websockets.wrap_server_stream(nursery, read_again, max_message_size=route.largest_message)
            connection = await request.accept()
        with trio.CancelScope() as until_stopped:
            idle[until_stopped] = math.inf
            try:
                await route.handle(connection, parameters, headers, client_address)
            except websockets.ConnectionClosed:
                pass
            finally:
                del idle[until_stopped]
        with trio.CancelScope(shield=True), trio.move_on_after(1):
            await connection.aclose(_GOING_AWAY if until_stopped.cancelled_caught else 1000)
        nursery.cancel_scope.cancel()


class _ReadAhead:
    """A stream with bytes in front that were read from it already; in all else, attributes too, the stream itself."""

    def __init__(self, stream: Stream, read: bytes) -> None:
        self._stream = stream
        self._read = read

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if self._read:
            await trio.lowlevel.checkpoint()
            read, self._read = self._read, b""
            return read
        return bytes(await self._stream.receive_some(max_bytes))
