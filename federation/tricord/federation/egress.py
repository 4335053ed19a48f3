"""The one way out to hosts that somebody else named.

Every name is looked up, every address checked against the allowed ranges, and the connection made to the very address
that was checked: a name that changes in between, a redirect or an odd spelling of an address leads nowhere else. Time,
size, redirects and connections are bounded. The certificate is checked for the name that was asked for.
"""

from __future__ import annotations

import contextlib
import ssl
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import httpcore
import trio

from tricord.federation.addresses import AllowedAddresses
from tricord.federation.bounded_body import BoundedBody
from tricord.federation.checked_connections import CheckedConnections
from tricord.federation.dns import Dns
from tricord.federation.errors import AddressRefused, AnswerInvalid, HostUnreachable
from tricord.federation.redirects import DEFAULT_PORTS, Trail, location_of
from tricord.federation.route import Route
from tricord.federation.transport import OpenResponse, Response

T = TypeVar("T")

_CONNECT_SECONDS = 10.0
_REQUESTS_AT_ONCE = 400
_CONNECTIONS_PER_ROUTE = 8
_MOST_LINES = 500
_IDLE_SECONDS = 60.0
_CLOSE_SECONDS = 2.0
# Of an answer that is taken as it comes: the pause between two parts, and what it may take as a whole.
_PART_SECONDS = 30.0
_STREAM_SECONDS = 60.0
_SLOWEST_STREAM = 16 << 10
# These mean the same when they arrive twice: a kept connection that breaks may be tried anew.
_SAFE_TO_REPEAT = frozenset({"GET", "HEAD", "PUT"})


@dataclass(slots=True)
class _Line:
    """The connections of a route."""

    pool: httpcore.AsyncConnectionPool
    limiter: trio.CapacityLimiter
    used_at: float
    in_use: int = 0
    answers: int = 0


class Egress:
    """Sends requests to hosts that somebody else named."""

    def __init__(self, dns: Dns, allowed: AllowedAddresses, tls: ssl.SSLContext) -> None:
        self._dns = dns
        self._allowed = allowed
        self._tls = tls
        self._lines: OrderedDict[Route, _Line] = OrderedDict()
        self._limiter = trio.CapacityLimiter(_REQUESTS_AT_ONCE)

    async def send(
        self,
        route: Route,
        method: str,
        target: str,
        headers: Mapping[str, str],
        content: bytes | None = None,
        *,
        timeout_seconds: float,
        max_bytes: int,
    ) -> Response:
        """Send a request and return its answer whole; raise HostUnreachable, AddressRefused or AnswerInvalid."""
        request = _request(route, method, target, headers, content)
        with trio.move_on_after(timeout_seconds):
            return await self._exchange(route, request, max_bytes)
        raise HostUnreachable(f"{route.host_header} has not answered within {timeout_seconds:.0f} s")

    async def fetch(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        timeout_seconds: float,
        max_bytes: int,
        max_redirects: int = 0,
        schemes: Iterable[str] = ("https",),
    ) -> Response:
        """Send a request to a URL and return its answer, after redirects if there may be any.

        Only GET is redirected. Raises HostUnreachable, AddressRefused or AnswerInvalid.
        """
        trail = Trail(url, schemes)
        with trio.move_on_after(timeout_seconds):
            while True:
                response = await self.send(
                    trail.route,
                    method,
                    trail.target,
                    headers or {},
                    content,
                    timeout_seconds=timeout_seconds,
                    max_bytes=max_bytes,
                )
                location = location_of(response)
                if method != "GET" or max_redirects == 0 or location is None:
                    return response
                trail.follow(location, max_redirects)
        raise HostUnreachable(f"{url} has not answered within {timeout_seconds:.0f} s")

    @contextlib.asynccontextmanager
    async def open(
        self, route: Route, target: str, headers: Mapping[str, str], *, timeout_seconds: float
    ) -> AsyncIterator[OpenResponse]:
        """Ask for something that may be large, and give its answer as it comes, while inside the block.

        The time is that until the answer begins. Entering and reading raise as `send` does.
        """
        route = replace(route, for_files=True)
        request = _request(route, "GET", target, {"Accept-Encoding": "identity", **headers}, None)
        async with self._line(route) as line:
            response = None
            with _in_our_words(route), trio.move_on_after(timeout_seconds):
                response = await _repeated(request, line.answers, lambda: line.pool.handle_async_request(request))
            if response is None:
                raise HostUnreachable(f"{route.host_header} has not answered within {timeout_seconds:.0f} s")
            async with _closing(response):
                given = _response_headers(response.headers)
                if given.get("content-encoding", "identity").lower() not in ("identity", ""):
                    raise AnswerInvalid("the answer is encoded, which was not asked for")
                async with contextlib.aclosing(_paced(route, response)) as parts:
                    yield OpenResponse(response.status, given, parts)
                line.answers += 1

    @contextlib.asynccontextmanager
    async def open_url(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float,
        max_redirects: int = 3,
        schemes: Iterable[str] = ("https",),
        permits: Callable[[str], bool] = lambda _host: True,
    ) -> AsyncIterator[OpenResponse]:
        """Ask for what is at a URL, after redirects, and give it as `open` does; `permits` is asked of every host."""
        trail = Trail(url, schemes)
        deadline = trio.current_time() + timeout_seconds
        while True:
            if not permits(trail.host):
                raise AddressRefused(f"{trail.host} is not among the hosts that may be asked")
            left = max(deadline - trio.current_time(), 0)
            async with self.open(trail.route, trail.target, headers or {}, timeout_seconds=left) as response:
                location = location_of(response)
                if location is None:
                    yield response
                    return
            trail.follow(location, max_redirects)

    async def aclose(self) -> None:
        """Close every connection."""
        while self._lines:
            _, line = self._lines.popitem()
            await _close(line)

    async def _exchange(self, route: Route, request: httpcore.Request, max_bytes: int) -> Response:
        async with self._line(route) as line:
            with _in_our_words(route):
                return await _repeated(request, line.answers, lambda: _answer(line, request, max_bytes))

    @contextlib.asynccontextmanager
    async def _line(self, route: Route) -> AsyncIterator[_Line]:
        """Give the connections of a route, once there is room for a request."""
        line = self._line_of(route)
        line.in_use += 1
        try:
            await self._close_idle()
            # A host that is slow has its own queue, and takes no more than its share of what all have.
            async with line.limiter, self._limiter:
                yield line
        finally:
            line.in_use -= 1
            line.used_at = trio.current_time()

    def _line_of(self, route: Route) -> _Line:
        line = self._lines.get(route)
        if line is None:
            pool = httpcore.AsyncConnectionPool(
                ssl_context=self._tls,
                max_connections=_CONNECTIONS_PER_ROUTE,
                keepalive_expiry=_IDLE_SECONDS,
                network_backend=CheckedConnections(route, self._dns, self._allowed),
            )
            line = self._lines[route] = _Line(pool, trio.CapacityLimiter(_CONNECTIONS_PER_ROUTE), trio.current_time())
        self._lines.move_to_end(route)
        return line

    async def _close_idle(self) -> None:
        """Close the connections of routes that nobody has used for a while, or of any unused ones if there are many."""
        unused = [(route, line) for route, line in self._lines.items() if not line.in_use]
        if len(self._lines) <= _MOST_LINES:
            before = trio.current_time() - _IDLE_SECONDS
            unused = [(route, line) for route, line in unused if line.used_at < before]
        # Taken out before anything is awaited, so that nobody picks them up again.
        for route, _ in unused:
            del self._lines[route]
        for _, line in unused:
            await _close(line)


async def _repeated(request: httpcore.Request, answers_before: int, send: Callable[[], Awaitable[T]]) -> T:
    """Send a request; once more, if a connection that was kept may just have been closed at the other end."""
    try:
        return await send()
    except (httpcore.RemoteProtocolError, httpcore.ReadError, httpcore.WriteError):
        if request.method.decode() not in _SAFE_TO_REPEAT or not answers_before:
            raise
        return await send()


async def _answer(line: _Line, request: httpcore.Request, max_bytes: int) -> Response:
    """Send a request, and return its answer whole."""
    response = await line.pool.handle_async_request(request)
    async with _closing(response):
        headers = _response_headers(response.headers)
        body = BoundedBody(headers.get("content-encoding", "identity").lower(), max_bytes)
        async for chunk in response.aiter_stream():
            body.feed(chunk)
        line.answers += 1
        return Response(response.status, headers, body.whole())


@contextlib.asynccontextmanager
async def _closing(response: httpcore.Response) -> AsyncIterator[None]:
    """Give the connection back after the block: at once, whoever has given up."""
    try:
        yield
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _CLOSE_SECONDS):
            await response.aclose()


@contextlib.contextmanager
def _in_our_words(route: Route) -> Iterator[None]:
    """Raise HostUnreachable or AnswerInvalid for what goes wrong with a host."""
    try:
        yield
    except httpcore.RemoteProtocolError as error:
        if str(error).startswith("Server disconnected"):
            raise HostUnreachable(f"{route.host_header} closes the connection without an answer") from error
        raise AnswerInvalid(f"{route.host_header} answers no HTTP: {error}") from error
    except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, OSError) as error:
        raise HostUnreachable(f"{route.host_header}: {_words(error)}") from error
    except (UnicodeError, ValueError) as error:
        # Names that DNS or TLS cannot have: labels that are empty or too long.
        raise HostUnreachable(f"{route.host_header} is no name of a host: {error}") from error


async def _paced(route: Route, response: httpcore.Response) -> AsyncGenerator[bytes, None]:
    """Return the body of an answer as it comes; raise HostUnreachable when it comes too slowly."""
    begun, received = trio.current_time(), 0
    async with contextlib.aclosing(response.aiter_stream()) as chunks:  # type: ignore[type-var]  # httpcore's generator
        while True:
            last = begun + _STREAM_SECONDS + received / _SLOWEST_STREAM
            chunk = None
            with _in_our_words(route), trio.move_on_at(min(trio.current_time() + _PART_SECONDS, last)):
                chunk = await anext(chunks, b"")
            if chunk is None:
                raise HostUnreachable(f"{route.host_header} sends its answer too slowly")
            if not chunk:
                return
            received += len(chunk)
            yield chunk


async def _close(line: _Line) -> None:
    with trio.CancelScope(shield=True, deadline=trio.current_time() + _CLOSE_SECONDS):
        await line.pool.aclose()


def _request(
    route: Route, method: str, target: str, headers: Mapping[str, str], content: bytes | None
) -> httpcore.Request:
    return httpcore.Request(
        method,
        httpcore.URL(scheme=route.scheme, host=route.name, port=DEFAULT_PORTS[route.scheme], target=target),
        headers=_request_headers(route, headers, content),
        content=content,
        extensions={"timeout": {"connect": _CONNECT_SECONDS}},
    )


def _request_headers(route: Route, headers: Mapping[str, str], content: bytes | None) -> list[tuple[bytes, bytes]]:
    pairs = {"Host": route.host_header, "Accept-Encoding": "gzip", "User-Agent": "Tricord", **headers}
    if content is not None:
        pairs["Content-Length"] = str(len(content))
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in pairs.items()]


def _response_headers(pairs: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for raw_name, raw_value in pairs:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _words(error: BaseException) -> str:
    """Return what an error says, or what the one behind it does."""
    # httpcore hides the cause, but it is still what was being handled.
    while not str(error) and (behind := error.__cause__ or error.__context__) is not None:
        error = behind
    return str(error) or type(error).__name__
