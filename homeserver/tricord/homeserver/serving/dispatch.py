"""From a request to its answer: the one place where authentication, limits, parsing and refusals happen.

Whatever carries the request (HTTP/1.1, HTTP/2, quart-trio, a WebSocket) hands it over as a `RawRequest`, so that all
give the same answers.

A handler is not cancelled when its client goes away: a write that has begun ends. Endpoints that wait for something to
happen say so (`cancel_on_disconnect`), and are cancelled; also when the session ends that they wait for.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import structlog
import trio

from tricord.clients.endpoint import Authentication, Endpoint
from tricord.homeserver.serving.call import (
    Authenticator,
    Call,
    EndsOfSessions,
    LateRoutes,
    OtherProcesses,
    PeerAuthenticator,
    RateLimiter,
    Requester,
    Route,
)
from tricord.homeserver.serving.errors import ClientDisconnected, Refused
from tricord.homeserver.serving.request import RawRequest, body_of, query_of, read_body
from tricord.homeserver.serving.response import Response, failure, preflight, refusal, response_of, unreadable
from tricord.homeserver.serving.router import NotLoaded, Router
from tricord.homeserver.storage.errors import DatabaseUnavailable
from tricord.protocol.errors import (
    Forbidden,
    GuestAccessForbidden,
    MatrixError,
    MethodNotAllowed,
    MissingToken,
    Unauthorized,
    Unrecognized,
    UserSuspended,
)
from tricord.protocol.identifiers import ServerName
from tricord.protocol.strict_json import JsonObject, integer_of_64_bits, parse_object

_log = structlog.get_logger(__name__)

Observer = Callable[[str, str, int, float], None]


class Dispatcher:
    """Answers requests."""

    def __init__(
        self,
        routes: Iterable[Route | LateRoutes],
        authenticator: Authenticator,
        limiter: RateLimiter | None = None,
        *,
        peers: PeerAuthenticator | None = None,
        observe: Observer | None = None,
        others: OtherProcesses | None = None,
        sessions: EndsOfSessions | None = None,
    ) -> None:
        self.router = Router(routes)
        self._authenticator = authenticator
        self._sessions = sessions
        self._peers = peers
        self._limiter = limiter
        self._others = others
        # Told the method, the route, the status and the seconds of every request.
        self._observe = observe
        self._numbers = itertools.count(1)

    async def find(self, request: RawRequest) -> tuple[Route, dict[str, str]] | Response:
        """Return the route and the parameters in the path, or the answer that there is none."""
        if request.method == "OPTIONS":
            return preflight()
        while True:
            try:
                return self._find(request)
            except NotLoaded as needed:
                try:
                    await self.router.load(needed.late)
                except Exception:  # noqa: BLE001  # an installation that lacks a part still serves the others
                    _log.exception("routes cannot be loaded", below=needed.late.below)
                    return failure(500, "internal error, see the server's log")

    def _find(self, request: RawRequest) -> tuple[Route, dict[str, str]] | Response:
        try:
            return self.router.match(request.method, request.path)
        except MethodNotAllowed as error:
            response = refusal(error)
            response.headers.append((b"allow", ", ".join(self.router.methods(request.path)).encode()))
            return response
        except MatrixError as error:
            return refusal(error)

    async def respond(self, request: RawRequest, route: Route, path: Mapping[str, str]) -> Response:
        """Serve a request for which `find` found a route. Raises nothing but ClientDisconnected and cancellation."""
        return await self._measured(request, route.endpoint, self._handled(request, route, path))

    async def _handled(self, request: RawRequest, route: Route, path: Mapping[str, str]) -> Response:
        if self._others is not None and self._others.is_behind:
            await self._others.catch_up()
        if route.endpoint.cancel_on_disconnect and self._sessions is not None:
            return response_of(await self._waited_for(request, route, path, self._sessions))
        return response_of(await route.handle(await self._call(request, route.endpoint, path)))

    async def _measured(self, request: RawRequest, endpoint: type[Endpoint], handled: Awaitable[Response]) -> Response:
        """Return the answer to a request, also where it fails, and note what it took."""
        started = trio.current_time()
        number = next(self._numbers)
        try:
            response = await handled
        except MatrixError as error:
            response = refusal(error)
        except DatabaseUnavailable as error:
            _log.warning("the database cannot be used", request=number, route=endpoint.path, reason=str(error))
            response = failure(503, "the server cannot use its database now, try again later", (b"retry-after", b"2"))
        except Refused as refused:
            response = unreadable(refused)
        except ClientDisconnected:
            raise
        except Exception:  # noqa: BLE001  # one failing request must not end the others
            _log.exception("a request failed", request=number, method=request.method, route=endpoint.path)
            response = failure(500, f"internal error, see request {number} in the server's log")
        response.route = endpoint.path
        seconds = trio.current_time() - started
        if self._observe is not None:
            self._observe(request.method, endpoint.path, response.status, seconds)
        _log.debug(
            "request",
            request=number,
            method=request.method,
            route=endpoint.path,
            status=response.status,
            ms=round(seconds * 1e3, 1),
        )
        return response

    async def answer(
        self, requester: Requester, method: str, path: str, body: JsonObject, *, client_address: str
    ) -> tuple[int, bytes]:
        """Answer a request that came another way than by HTTP, already authenticated: its status and JSON."""
        raw_path, _, query_string = path.encode().partition(b"?")
        request = RawRequest(method, raw_path, query_string, (), client_address)
        found = await self.find(request)
        if isinstance(found, Response):
            return found.status, found.json
        route, parameters = found
        if route.endpoint.body_kind == "stream" or route.endpoint.cancel_on_disconnect:
            refused = refusal(Unrecognized("this endpoint is not served here, use HTTP"))
            return refused.status, refused.json
        handled = self._handled_as(requester, request, route, parameters, body)
        response = await self._measured(request, route.endpoint, handled)
        return response.status, response.json

    async def _handled_as(
        self, requester: Requester, request: RawRequest, route: Route, path: Mapping[str, str], body: JsonObject
    ) -> Response:
        if self._others is not None and self._others.is_behind:
            await self._others.catch_up()
        return response_of(await route.handle(self._parsed(request, route.endpoint, path, requester, body)))

    async def _waited_for(
        self, request: RawRequest, route: Route, path: Mapping[str, str], sessions: EndsOfSessions
    ) -> Any:
        """Handle a call that may wait for long; whose session ends meanwhile is told so, and nothing else."""
        ends = sessions.ends
        call = await self._call(request, route.endpoint, path)
        while (requester := call.requester_or_none) is not None:
            with trio.CancelScope() as scope, sessions.when_ended(requester.session_id, scope.cancel):
                # Nothing is missed from here on; but what came since the token was looked at.
                if sessions.ends != ends:
                    call.requester_or_none = await self._authenticated(request, route.endpoint)
                return await route.handle(call)
            # Once more, and again if the session goes on in another way.
            ends = -1
        return await route.handle(call)

    async def _call(self, request: RawRequest, endpoint: type[Endpoint], path: Mapping[str, str]) -> Call[Any, Any]:
        requester = await self._authenticated(request, endpoint)
        body: JsonObject | None = None
        if reads_json(endpoint, request.method):
            data = await read_body(request.body, request.content_length, endpoint.max_body)
            if data:
                # What clients say is kept, and told again; what servers say may be signed as it is.
                is_signed = endpoint.authentication is Authentication.SIGNED_REQUEST
                body = parse_object(data, parse_int=int if is_signed else integer_of_64_bits)
        origin = None
        if endpoint.authentication is Authentication.SIGNED_REQUEST:
            origin = await self._signer(request, body)
        return self._parsed(request, endpoint, path, requester, body or {}, origin)

    async def _signer(self, request: RawRequest, body: JsonObject | None) -> ServerName:
        """Return which server signed a request: method, URI and body."""
        if self._peers is None:
            raise Unauthorized("this listener serves no other servers")
        signatures = [value.decode("latin1") for name, value in request.headers if name == b"authorization"]
        return await self._peers.origin_of(request.method, request.uri, signatures, body)

    def _parsed(
        self,
        request: RawRequest,
        endpoint: type[Endpoint],
        path: Mapping[str, str],
        requester: Requester | None,
        body: JsonObject,
        origin: ServerName | None = None,
    ) -> Call[Any, Any]:
        if requester is not None and requester.is_suspended and not endpoint.suspended_users_too:
            raise UserSuspended("this account is suspended and may not do this")
        parameters = request.parameters()
        call: Call[Any, Any] = Call(
            endpoint=endpoint,
            path=path,
            query=query_of(endpoint.Query, parameters),
            body=body_of(endpoint.Body, body),
            headers={name.decode("latin1"): value.decode("latin1") for name, value in request.headers},
            client_address=request.client_address,
            parameters=parameters,
            stream=request.body if endpoint.body_kind == "stream" else None,
            requester_or_none=requester,
            origin_or_none=origin,
        )
        if self._limiter is not None:
            self._limiter.check(call)
        return call

    async def _authenticated(self, request: RawRequest, endpoint: type[Endpoint]) -> Requester | None:
        wanted = endpoint.authentication
        if wanted in (Authentication.NONE, Authentication.SIGNED_REQUEST):
            return None
        token = request.access_token()
        if token is None:
            if wanted is Authentication.OPTIONAL:
                return None
            raise MissingToken("this endpoint needs an access token")
        requester = await self._authenticator.authenticate(
            token,
            client_address=request.client_address,
            user_agent=request.header(b"user-agent"),
            locked_users_too=endpoint.locked_users_too,
        )
        if wanted is Authentication.ADMIN and not requester.is_admin:
            raise Forbidden("this endpoint is for administrators of the server")
        if requester.is_guest and wanted is Authentication.ACCESS_TOKEN:
            raise GuestAccessForbidden("guests may not do this")
        return requester


def reads_json(endpoint: type[Endpoint], method: str) -> bool:
    """Whether a JSON body is read before the handler is called."""
    return endpoint.body_kind == "json" and method not in ("GET", "HEAD")
