"""The ASGI application: hot endpoints answered straight from their description, the others by way of quart-trio.

Both ways end in the same dispatcher, so that a client cannot tell them apart.
"""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from typing import Any

import trio
from quart import Response as QuartResponse
from quart import request as quart_request
from quart_trio import QuartTrio

from tricord.homeserver.serving.call import Route
from tricord.homeserver.serving.dispatch import Dispatcher, RawRequest, Response

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"]


class Application:
    """An ASGI 3 application around a dispatcher.

    `trusted_proxies` are the networks whose `X-Forwarded-For` is believed. With `everything_by_quart`, hot endpoints go
    through quart-trio too; the tests compare both ways.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        *,
        trusted_proxies: Sequence[str] = (),
        everything_by_quart: bool = False,
    ) -> None:
        self._dispatcher = dispatcher
        self._trusted = [ipaddress.ip_network(network) for network in trusted_proxies]
        self._everything_by_quart = everything_by_quart
        self._quart = self._quart_application()
        # Set when the server stops: whoever waits for something to happen is let go.
        self.draining = trio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1000})
            return
        request = RawRequest(
            scope["method"],
            scope.get("raw_path") or scope["path"].encode(),
            scope["query_string"],
            scope["headers"],
            self._client_address(scope),
            _body(receive),
        )
        found = self._dispatcher.find(request)
        if isinstance(found, Response):
            await _send(found, send)
            return
        route, path = found
        if route.endpoint.hot and not self._everything_by_quart:
            response = await self._respond(request, route, path, receive)
            if response is not None:
                await _send(response, send)
            return
        scope["tricord.found"] = (request, route, path, receive)
        quart: Any = self._quart  # its types spell out every ASGI message
        await quart(scope, receive, send)

    async def _respond(
        self, request: RawRequest, route: Route, path: dict[str, str], receive: Receive
    ) -> Response | None:
        """Answer; None if the client has gone away meanwhile, or the server stops, and nobody waits for an answer."""
        if not route.endpoint.cancel_on_disconnect:
            return await self._dispatcher.respond(request, route, path)
        response: Response | None = None
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                while (await receive())["type"] != "http.disconnect":
                    pass
                nursery.cancel_scope.cancel()

            async def drain() -> None:
                await self.draining.wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(watch)
            nursery.start_soon(drain)
            response = await self._dispatcher.respond(request, route, path)
            nursery.cancel_scope.cancel()
        return response

    def _client_address(self, scope: Scope) -> str:
        """Return who calls: the peer, or the last address in `X-Forwarded-For` that is not a proxy of ours."""
        client = scope.get("client")
        address = str(client[0]) if client else ""
        if not self._trusted or not self._is_trusted(address):
            return address
        for name, value in scope["headers"]:
            if name == b"x-forwarded-for":
                for hop in reversed(value.decode("latin1").split(",")):
                    address = str(hop.strip())
                    if not self._is_trusted(address):
                        return address
        return address

    def _is_trusted(self, address: str) -> bool:
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(ip in network for network in self._trusted)

    def _quart_application(self) -> QuartTrio:
        quart = QuartTrio(__name__, static_folder=None)
        # The dispatcher bounds sizes and knows the paths; quart only carries.
        quart.config.update(MAX_CONTENT_LENGTH=None, BODY_TIMEOUT=None, RESPONSE_TIMEOUT=None)
        quart.url_map.merge_slashes = False
        quart.url_map.strict_slashes = False

        async def carry(**_path: str) -> QuartResponse:
            request, route, path, receive = quart_request.scope["tricord.found"]  # type: ignore[typeddict-item]
            request.body = quart_request.body
            if route.endpoint.cancel_on_disconnect:
                # Quart reads the disconnect itself and cancels us.
                response = await self._dispatcher.respond(request, route, path)
            else:
                with trio.CancelScope(shield=True):
                    response = await self._dispatcher.respond(request, route, path)
            del receive
            answer = QuartResponse(response.body, status=response.status)
            answer.headers.clear()
            for name, value in response.headers:
                answer.headers.add(name.decode(), value.decode("latin1"))
            if isinstance(response.body, bytes):
                answer.headers["content-length"] = str(len(response.body))
            if response.close:
                answer.headers["connection"] = "close"
            return answer

        quart.add_url_rule("/", "root", carry, methods=_METHODS, provide_automatic_options=False)
        quart.add_url_rule("/<path:anything>", "any", carry, methods=_METHODS, provide_automatic_options=False)
        return quart


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def _body(receive: Receive) -> AsyncIterator[bytes]:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnected
        if message.get("body"):
            yield message["body"]
        if not message.get("more_body"):
            return


class ClientDisconnected(Exception):
    """The client went away before its request was complete."""


async def _send(response: Response, send: Send) -> None:
    headers = response.headers
    body = response.body
    if isinstance(body, bytes):
        headers = [*headers, (b"content-length", b"%d" % len(body))]
    if response.close:
        headers = [*headers, (b"connection", b"close")]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    if isinstance(body, bytes):
        await send({"type": "http.response.body", "body": body})
        return
    async with contextlib.aclosing(body) as parts:  # type: ignore[type-var]  # handlers give generators
        async for part in parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
