"""A proxy that hands requests to several processes in turn, as one in front of them that knows no routing would.

A connection of HTTP/2 or TLS goes to one of them as a whole, as does a WebSocket.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator, Sequence
from functools import partial
from urllib.parse import urlsplit

import h11
import trio

_READ = 65_536
# How connections begin that are not taken apart: HTTP/2, and a handshake of TLS.
_WHOLE = (b"PRI * HTTP/2", b"\x16\x03")


@contextlib.asynccontextmanager
async def alternating(urls: Sequence[str], port: int = 0) -> AsyncIterator[str]:
    """Run the proxy while inside the block, at a free port unless one is named, and give its URL."""
    turns = itertools.cycle([_address(url) for url in urls])

    async def serve(stream: trio.SocketStream) -> None:
        # Whoever breaks off, on either side, is what clients or servers may do.
        try:
            async with stream:
                await _Client(stream, turns).serve()
        except* (trio.BrokenResourceError, trio.ClosedResourceError, h11.RemoteProtocolError):
            pass

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, serve, port, host="127.0.0.1"))
        _, port = listeners[0].socket.getsockname()[:2]
        yield f"{urlsplit(urls[0]).scheme}://127.0.0.1:{port}"
        nursery.cancel_scope.cancel()


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port


class _Client:
    """A connection of a client, and those that are made for it."""

    def __init__(self, stream: trio.SocketStream, turns: itertools.cycle[tuple[str, int]]) -> None:
        self._stream = stream
        self._turns = turns
        self._connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)

    async def serve(self) -> None:
        """Carry requests, each to the next process, and their answers, until somebody closes."""
        begun = await self._stream.receive_some(_READ)
        if begun.startswith(_WHOLE):
            async with await trio.open_tcp_stream(*next(self._turns)) as there:
                await self._join(begun, there)
            return
        self._connection.receive_data(begun)
        while True:
            request = await _next_event(self._connection, self._stream)
            if not isinstance(request, h11.Request):
                return
            async with await trio.open_tcp_stream(*next(self._turns)) as there:
                if any(name == b"upgrade" for name, _ in request.headers):
                    await self._join(_head(request) + self._connection.trailing_data[0], there)
                    return
                if not await self._carry(request, there):
                    return
            self._connection.start_next_cycle()

    async def _carry(self, request: h11.Request, there: trio.SocketStream) -> bool:
        """Carry a request and its answer; return whether the connection goes on."""
        upstream = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
        is_answered = False

        async def carry_request() -> None:
            # It has been answered already, or the client has gone in the middle of it.
            with contextlib.suppress(trio.BrokenResourceError, h11.RemoteProtocolError):
                await there.send_all(_sent(upstream, request))
                while not isinstance(event := await _next_event(self._connection, self._stream), h11.EndOfMessage):
                    if not isinstance(event, h11.Data):
                        return
                    await there.send_all(_sent(upstream, event))
                await there.send_all(_sent(upstream, h11.EndOfMessage()))
                await self._watch_for_end()

        async with trio.open_nursery() as nursery:

            async def carry_and_cancel() -> None:
                await carry_request()
                # The client is gone: so are we, for the process.
                nursery.cancel_scope.cancel()

            nursery.start_soon(carry_and_cancel)
            while not isinstance(event := await _next_event(upstream, there), h11.EndOfMessage):
                if isinstance(event, h11.ConnectionClosed) or event is None:
                    return False
                await self._stream.send_all(_sent(self._connection, event))
            await self._stream.send_all(_sent(self._connection, event))
            is_answered = True
            nursery.cancel_scope.cancel()
        return is_answered and self._connection.our_state is self._connection.their_state is h11.DONE

    async def _watch_for_end(self) -> None:
        """Return when the client closes."""
        while data := await self._stream.receive_some(_READ):
            self._connection.receive_data(data)

    async def _join(self, begun: bytes, there: trio.SocketStream) -> None:
        """Become a mere pair of pipes."""
        await there.send_all(begun)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_pipe, self._stream, there, nursery.cancel_scope)
            nursery.start_soon(_pipe, there, self._stream, nursery.cancel_scope)


def _head(request: h11.Request) -> bytes:
    head = b"%s %s HTTP/1.1\r\n" % (request.method, request.target)
    return head + b"".join(b"%s: %s\r\n" % header for header in request.headers) + b"\r\n"


async def _pipe(source: trio.SocketStream, target: trio.SocketStream, both: trio.CancelScope) -> None:
    with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        while data := await source.receive_some(_READ):
            await target.send_all(data)
    both.cancel()


async def _next_event(connection: h11.Connection, stream: trio.SocketStream) -> h11.Event | None:
    while (event := connection.next_event()) is h11.NEED_DATA:
        if connection.they_are_waiting_for_100_continue:
            await stream.send_all(_sent(connection, h11.InformationalResponse(status_code=100, headers=[])))
        connection.receive_data(await stream.receive_some(_READ))
    return event if isinstance(event, h11.Event) else None


def _sent(connection: h11.Connection, event: h11.Event) -> bytes:
    return connection.send(event) or b""
