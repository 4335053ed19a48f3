"""The application: hot endpoints answered straight from their description, the others by way of quart-trio.

Both ways end in the same dispatcher, and quart neither reads bodies nor minds disconnects, so that a client cannot tell
the ways apart. The application is ASGI 3; HTTP/1.1 saves itself the messages and calls `find` and `respond`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

import trio

from tricord.federation.late import Late
from tricord.homeserver.serving.asgi import BARE_QUERY, AsgiApplication, Body, Event, Receive, Scope, Send
from tricord.homeserver.serving.call import Route
from tricord.homeserver.serving.client_address import ClientAddresses
from tricord.homeserver.serving.dispatch import Dispatcher, reads_json
from tricord.homeserver.serving.errors import ClientDisconnected, Refused
from tricord.homeserver.serving.request import RawRequest
from tricord.homeserver.serving.response import Response, stopping

# Told what to do when the client goes away; None: nothing any more.
WhenGone = Callable[[Callable[[], None] | None], None]


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
        self.connections = 0
        """How many are open by which it is asked."""
        self._everything_by_quart = everything_by_quart
        # Loaded for the first request that goes by it: not every process gets one.
        self._framework = Late(_load_framework)
        self._waiting: set[trio.CancelScope] = set()
        self.find = dispatcher.find
        self.client_addresses = ClientAddresses(trusted_proxies)
        self.draining = False
        """The server stops: connections end after the answer under way."""

    def drain(self) -> None:
        """Let go of whoever waits for something to happen, from now on."""
        self.draining = True
        for scope in self._waiting:
            scope.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1000})
            return
        client = scope.get("client")
        request = RawRequest(
            scope["method"],
            scope.get("raw_path") or scope["path"].encode(),
            scope["query_string"],
            scope["headers"],
            self.client_addresses.of(str(client[0]) if client else "", scope["headers"]),
            Body(receive),
            has_bare_query=BARE_QUERY in scope.get("extensions", {}),
        )
        response: Response | None
        found = await self.find(request)
        if isinstance(found, Response):
            response = found
        elif self.goes_straight(found[0]):
            response = await self.respond(request, *found, receive)
        else:
            await self.by_quart(request, *found, scope, receive, send)
            return
        if response is not None:
            await _send(response, scope, send)

    def goes_straight(self, route: Route) -> bool:
        """Whether a route is served without quart."""
        return route.endpoint.hot and not self._everything_by_quart

    async def respond(
        self,
        request: RawRequest,
        route: Route,
        path: dict[str, str],
        receive: Receive,
        when_gone: WhenGone | None = None,
    ) -> Response | None:
        """Answer; None if the client has gone away meanwhile, and nobody waits for an answer.

        `when_gone` is told what to do when the client goes away; without it, a task looks for that.
        """
        if not route.endpoint.cancel_on_disconnect:
            try:
                return await self._dispatcher.respond(request, route, path)
            except ClientDisconnected:
                return None
        if self.draining:
            return stopping()
        if when_gone is not None:
            return await self._respond_unless_gone(request, route, path, when_gone)
        response: Response | None = None
        gone = False
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                nonlocal gone
                if isinstance(request.body, Body) and reads_json(route.endpoint, request.method):
                    await request.body.ended.wait()
                with contextlib.suppress(Refused):
                    while (await receive())["type"] != "http.disconnect":
                        pass
                gone = True
                nursery.cancel_scope.cancel()

            self._waiting.add(nursery.cancel_scope)
            try:
                nursery.start_soon(watch)
                response = await self._dispatcher.respond(request, route, path)
            except ClientDisconnected:
                gone = True
            finally:
                self._waiting.discard(nursery.cancel_scope)
            nursery.cancel_scope.cancel()
        if response is None and not gone:
            return stopping()
        return response

    async def _respond_unless_gone(
        self, request: RawRequest, route: Route, path: dict[str, str], when_gone: WhenGone
    ) -> Response | None:
        response: Response | None = None
        gone = False

        def leave() -> None:
            nonlocal gone
            gone = True
            scope.cancel()

        with trio.CancelScope() as scope:
            self._waiting.add(scope)
            try:
                when_gone(leave)
                response = await self._dispatcher.respond(request, route, path)
            except ClientDisconnected:
                gone = True
            finally:
                when_gone(None)
                self._waiting.discard(scope)
        return stopping() if response is None and not gone else response

    async def by_quart(
        self, request: RawRequest, route: Route, path: dict[str, str], scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Answer by way of quart-trio. Raises ClientDisconnected."""
        given = gone = False

        async def answer() -> Response | None:
            nonlocal gone
            response = await self.respond(request, route, path, receive)
            gone = response is None
            return response

        async def nothing() -> Event:
            # Quart would gather the body as it comes, of any size, and cancel a write that has begun.
            nonlocal given
            if given:
                await trio.sleep_forever()
            given = True
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send_unless_gone(message: Event) -> None:
            if not gone:
                await send(message)

        scope["tricord.answer"] = answer
        framework = await self._framework.get()
        try:
            await framework(scope, nothing, send_unless_gone)
        except* (trio.BrokenResourceError, trio.ClosedResourceError, ClientDisconnected):
            gone = True
        if gone:
            raise ClientDisconnected


def _load_framework() -> AsgiApplication:
    from tricord.homeserver.serving.framework import framework

    return framework()


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def _send(response: Response, scope: Scope, send: Send) -> None:
    headers = response.carried_headers(http1=scope["http_version"] in ("1.0", "1.1"))
    body = response.body
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    if isinstance(body, bytes):
        await send({"type": "http.response.body", "body": body})
        return
    async with contextlib.aclosing(body) as parts:  # type: ignore[type-var]  # handlers give generators
        if scope["method"] != "HEAD":
            async for part in parts:
                await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
