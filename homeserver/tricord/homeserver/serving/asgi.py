"""ASGI 3, as far as it is spoken here: its three callables, the scope of a request, and the body that comes by it.

https://asgi.readthedocs.io/en/latest/specs/www.html
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from typing import Any

import trio

from tricord.homeserver.serving.call import Header
from tricord.homeserver.serving.errors import ClientDisconnected

Scope = MutableMapping[str, Any]
Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
AsgiApplication = Callable[[Scope, Receive, Send], Awaitable[None]]

BARE_QUERY = "tricord.bare_query"
"""An extension of a scope: there is a `?` with nothing behind it, which ASGI has no place for."""


def http_scope(
    version: str,
    method: str,
    target: bytes,
    headers: Sequence[Header],
    *,
    peer: tuple[Any, ...],
    is_secure: bool,
) -> Scope:
    """Return the scope of a request; its target is the path and the query string."""
    path, _, query_string = target.partition(b"?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": version,
        "method": method,
        "scheme": "https" if is_secure else "http",
        "path": path.decode("latin1"),
        "raw_path": path,
        "query_string": query_string,
        "root_path": "",
        "headers": headers,
        "client": peer[:2],
        "server": None,
        "extensions": {BARE_QUERY: {}} if target.endswith(b"?") else {},
    }


class Body:
    """The body of a request, as it comes. Raises ClientDisconnected and Refused."""

    __slots__ = ("_receive", "ended")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.ended = trio.Event()

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Return itself."""
        return self

    async def __anext__(self) -> bytes:
        """Return the next part."""
        while not self.ended.is_set():
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnected
            if not message.get("more_body"):
                self.ended.set()
            if message.get("body"):
                return bytes(message["body"])
        raise StopAsyncIteration
