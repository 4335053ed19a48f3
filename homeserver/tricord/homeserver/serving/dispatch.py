"""From a request to its answer: the one place where authentication, limits, parsing and refusals happen.

Whatever carries the request (the HTTP/1.1 lane, quart-trio under hypercorn, a WebSocket) hands it over as a
`RawRequest`, so that all give the same answers.

A handler is not cancelled when its client goes away: a write that has begun ends. Endpoints that wait for something to
happen say so (`cancel_on_disconnect`), and are cancelled; also when the session ends that they wait for.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_origin
from urllib.parse import parse_qs

import orjson
import structlog
import trio
from pydantic import BaseModel, ValidationError

from tricord.clients.endpoint import Authentication, Endpoint
from tricord.homeserver.serving.call import (
    Answer,
    Authenticator,
    Call,
    EndsOfSessions,
    Header,
    OtherProcesses,
    PeerAuthenticator,
    RateLimiter,
    Requester,
    Route,
)
from tricord.homeserver.serving.errors import ClientDisconnected, Refused
from tricord.homeserver.serving.router import Router
from tricord.homeserver.storage.errors import DatabaseUnavailable
from tricord.protocol.errors import (
    BadJson,
    Forbidden,
    GuestAccessForbidden,
    InvalidParam,
    MatrixError,
    MethodNotAllowed,
    MissingParam,
    MissingToken,
    TooLarge,
    Unauthorized,
    Unrecognized,
    UserSuspended,
)
from tricord.protocol.identifiers import ServerName
from tricord.protocol.strict_json import JsonObject, integer_of_64_bits, parse_object

_log = structlog.get_logger(__name__)

# https://spec.matrix.org/v1.19/client-server-api/#web-browser-clients
CORS_HEADERS: tuple[Header, ...] = (
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"GET, HEAD, POST, PUT, DELETE, OPTIONS"),
    (b"access-control-allow-headers", b"X-Requested-With, Content-Type, Authorization, Date"),
    (b"access-control-expose-headers", b"Retry-After"),
)
_JSON: Header = (b"content-type", b"application/json")
_MOST_PARAMETERS = 200


@dataclass(slots=True)
class RawRequest:
    """A request as it came."""

    method: str
    path: bytes
    """Percent-encoded, without the query string."""
    query_string: bytes
    headers: Sequence[Header]
    """Names in lower case."""
    client_address: str
    body: AsyncIterator[bytes] | None = None
    """The body as it comes; None if it was given another way."""
    has_bare_query: bool = False
    """There is a `?` with nothing behind it: other servers sign what they wrote."""


@dataclass(slots=True)
class Response:
    """An answer ready to be sent."""

    status: int
    headers: list[Header]
    body: bytes | AsyncIterator[bytes]
    close: bool = False
    """The connection does not go on: the request was not read to its end, or the server stops."""
    route: str = field(default="", compare=False)


Observer = Callable[[str, str, int, float], None]


class Dispatcher:
    """Answers requests."""

    def __init__(
        self,
        routes: Iterable[Route],
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

    def find(self, request: RawRequest) -> tuple[Route, dict[str, str]] | Response:
        """Return the route and the parameters in the path, or the answer that there is none."""
        if request.method == "OPTIONS":
            return Response(200, [_JSON, *CORS_HEADERS], b"{}", route="preflight")
        try:
            return self.router.match(request.method, request.path)
        except MethodNotAllowed as error:
            response = _refusal(error)
            response.headers.append((b"allow", ", ".join(self.router.methods(request.path)).encode()))
            return response
        except MatrixError as error:
            return _refusal(error)

    async def respond(self, request: RawRequest, route: Route, path: Mapping[str, str]) -> Response:
        """Serve a request for which `find` found a route. Raises nothing but ClientDisconnected and cancellation."""
        return await self._measured(request, route.endpoint, self._handled(request, route, path))

    async def _handled(self, request: RawRequest, route: Route, path: Mapping[str, str]) -> Response:
        if self._others is not None and self._others.is_behind:
            await self._others.catch_up()
        if route.endpoint.cancel_on_disconnect and self._sessions is not None:
            return _encode(await self._waited_for(request, route, path, self._sessions))
        return _encode(await route.handle(await self._call(request, route.endpoint, path)))

    async def _measured(self, request: RawRequest, endpoint: type[Endpoint], handled: Awaitable[Response]) -> Response:
        """Return the answer to a request, also where it fails, and note what it took."""
        started = trio.current_time()
        number = next(self._numbers)
        try:
            response = await handled
        except MatrixError as error:
            response = _refusal(error)
        except DatabaseUnavailable as error:
            _log.warning("the database cannot be used", request=number, route=endpoint.path, reason=str(error))
            response = _failure(503, "the server cannot use its database now, try again later", (b"retry-after", b"2"))
        except Refused as refusal:
            response = refused(refusal)
        except ClientDisconnected:
            raise
        except Exception:  # noqa: BLE001  # one failing request must not end the others
            _log.exception("a request failed", request=number, method=request.method, route=endpoint.path)
            response = _failure(500, f"internal error, see request {number} in the server's log")
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
        found = self.find(request)
        if isinstance(found, Response):
            return found.status, _whole(found)
        route, parameters = found
        if route.endpoint.body_kind == "stream" or route.endpoint.cancel_on_disconnect:
            refusal = _refusal(Unrecognized("this endpoint is not served here, use HTTP"))
            return refusal.status, _whole(refusal)

        handled = self._handled_as(requester, request, route, parameters, body)
        response = await self._measured(request, route.endpoint, handled)
        return response.status, _whole(response)

    async def _handled_as(
        self, requester: Requester, request: RawRequest, route: Route, path: Mapping[str, str], body: JsonObject
    ) -> Response:
        if self._others is not None and self._others.is_behind:
            await self._others.catch_up()
        return _encode(await route.handle(self._parsed(request, route.endpoint, path, requester, body)))

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
            data = await read_body(request.body, _content_length(request.headers), endpoint.max_body)
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
        uri = request.path.decode("latin1")
        if request.query_string or request.has_bare_query:
            uri += "?" + request.query_string.decode("latin1")
        signatures = [value.decode("latin1") for name, value in request.headers if name == b"authorization"]
        return await self._peers.origin_of(request.method, uri, signatures, body)

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
        parameters = _parameters(request.query_string)
        call: Call[Any, Any] = Call(
            endpoint=endpoint,
            path=path,
            query=_query(endpoint.Query, parameters),
            body=body if endpoint.Body is None else _validated(endpoint.Body, body),
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
        token = _access_token(request)
        if token is None:
            if wanted is Authentication.OPTIONAL:
                return None
            raise MissingToken("this endpoint needs an access token")
        requester = await self._authenticator.authenticate(
            token,
            client_address=request.client_address,
            user_agent=_header(request.headers, b"user-agent"),
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


async def read_body(body: AsyncIterator[bytes] | None, length: int | None, most: int) -> bytes:
    """Read a body of at most `most` bytes. Raises TooLarge without reading further than that."""
    if length is not None and length > most:
        raise TooLarge(f"the body has {length} bytes, more than {most}")
    if body is None:
        return b""
    parts = []
    size = 0
    async for part in body:
        size += len(part)
        if size > most:
            raise TooLarge(f"the body has more than {most} bytes")
        parts.append(part)
    return b"".join(parts)


def _header(headers: Sequence[Header], wanted: bytes) -> str:
    for name, value in headers:
        if name == wanted:
            return value.decode("latin1")
    return ""


def _content_length(headers: Sequence[Header]) -> int | None:
    text = _header(headers, b"content-length")
    return int(text) if text.isdigit() else None


def _access_token(request: RawRequest) -> str | None:
    """Return the token from the header, or from the query string, where the specification still allows it."""
    given = _header(request.headers, b"authorization")
    if given:
        scheme, _, token = given.partition(" ")
        if scheme.lower() == "bearer" and token.strip():
            return token.strip()
        return None
    if b"access_token=" in request.query_string:
        values = _parameters(request.query_string).get("access_token")
        return values[-1] if values else None
    return None


def _parameters(query_string: bytes) -> dict[str, list[str]]:
    if not query_string:
        return {}
    try:
        return parse_qs(query_string.decode(), keep_blank_values=True, max_num_fields=_MOST_PARAMETERS, errors="strict")
    except ValueError:
        raise InvalidParam("the query string is not UTF-8, or has too many parameters") from None


def _query(model: type[BaseModel] | None, parameters: Mapping[str, list[str]]) -> BaseModel | None:
    if model is None:
        return None
    given: dict[str, Any] = {}
    for name, info in model.model_fields.items():
        values = parameters.get(info.alias or name)
        if values is not None:
            if any("\0" in value for value in values):
                raise InvalidParam(f"`{info.alias or name}` holds a NUL")
            given[info.alias or name] = values if get_origin(info.annotation) is list else values[-1]
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise _in_words(error, InvalidParam) from None


def _validated(model: type[BaseModel], body: JsonObject) -> BaseModel:
    try:
        return model.model_validate(body, strict=True)
    except ValidationError as error:
        raise _in_words(error, BadJson) from None


def _in_words(error: ValidationError, otherwise: type[MatrixError]) -> MatrixError:
    """Return the refusal for a model that does not fit: what is missing, or else what is wrong."""
    fault = error.errors(include_url=False, include_input=False, include_context=False)[0]
    name = ".".join(str(part) for part in fault["loc"]) or "the body"
    if fault["type"] == "missing":
        return MissingParam(f"`{name}` is missing")
    return otherwise(f"`{name}`: {fault['msg']}")


def _encode(answer: Answer | JsonObject | BaseModel) -> Response:
    if isinstance(answer, Answer):
        body, status, headers = answer.body, answer.status, list(answer.headers)
    else:
        body, status, headers = answer, 200, []
    if not any(name == b"content-type" for name, _ in headers):
        headers.append(_JSON)
    headers.extend(CORS_HEADERS)
    if isinstance(body, dict | list):
        body = orjson.dumps(body)
    elif isinstance(body, BaseModel):
        body = orjson.dumps(body.model_dump(mode="json", by_alias=True, exclude_none=True))
    return Response(status, headers, body)


def _refusal(error: MatrixError) -> Response:
    headers = [_JSON, *CORS_HEADERS]
    retry_after_ms = error.extra.get("retry_after_ms")
    if isinstance(retry_after_ms, int):
        headers.append((b"retry-after", str(math.ceil(retry_after_ms / 1000)).encode()))
    return Response(error.status, headers, orjson.dumps(error.body()), close=isinstance(error, TooLarge))


def refused(refusal: Refused) -> Response:
    """Return the answer to a request that cannot be read."""
    response = _failure(refusal.status, refusal.words)
    response.close = True
    return response


def stopping() -> Response:
    """Return the answer to who waits for something to happen while the server stops."""
    response = _failure(503, "the server stops, try again", (b"retry-after", b"1"))
    response.close = True
    return response


def _failure(status: int, words: str, *headers: Header) -> Response:
    body = orjson.dumps({"errcode": "M_UNKNOWN", "error": words})
    return Response(status, [_JSON, *CORS_HEADERS, *headers], body)


def _whole(response: Response) -> bytes:
    return response.body if isinstance(response.body, bytes) else b"{}"
