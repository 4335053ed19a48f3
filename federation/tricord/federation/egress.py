"""The one way out to hosts that somebody else named.

Every name is looked up, every address checked against the allowed ranges, and the connection made to the very address
that was checked: a name that changes in between, a redirect or an odd spelling of an address leads nowhere else. Time,
size, redirects and connections are bounded. The certificate is checked for the name that was asked for.
"""

from __future__ import annotations

import contextlib
import ssl
import zlib
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import httpcore
import httpx
import trio

from tricord.federation.addresses import AllowedAddresses, final_address
from tricord.federation.dns import Dns, Place, in_order
from tricord.federation.errors import AddressRefused, AnswerInvalid, HostUnreachable
from tricord.federation.route import Route
from tricord.federation.transport import OpenResponse, Response

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
_PORTS = {"https": 443, "http": 80}
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
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
        request = httpcore.Request(
            method,
            httpcore.URL(scheme=route.scheme, host=route.name, port=_PORTS[route.scheme], target=target),
            headers=_request_headers(route, headers, content),
            content=content,
            extensions={"timeout": {"connect": _CONNECT_SECONDS}},
        )
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
        where = _url(url, schemes)
        seen = {where}
        with trio.move_on_after(timeout_seconds):
            while True:
                response = await self.send(
                    _route(where),
                    method,
                    where.raw_path.decode(),
                    headers or {},
                    content,
                    timeout_seconds=timeout_seconds,
                    max_bytes=max_bytes,
                )
                location = response.headers.get("location")
                if method != "GET" or max_redirects == 0 or response.status not in _REDIRECTS or location is None:
                    return response
                where = _url(location, schemes, base=where)
                if where in seen or len(seen) > max_redirects:
                    raise AnswerInvalid(f"{url} is redirected without end")
                seen.add(where)
        raise HostUnreachable(f"{url} has not answered within {timeout_seconds:.0f} s")

    @contextlib.asynccontextmanager
    async def open(
        self, route: Route, target: str, headers: Mapping[str, str], *, timeout_seconds: float
    ) -> AsyncIterator[OpenResponse]:
        """Ask for something that may be large, and give its answer as it comes, while inside the block.

        The time is that until the answer begins. Entering and reading raise as `send` does.
        """
        route = replace(route, for_files=True)
        request = httpcore.Request(
            "GET",
            httpcore.URL(scheme=route.scheme, host=route.name, port=_PORTS[route.scheme], target=target),
            headers=_request_headers(route, {"Accept-Encoding": "identity", **headers}, None),
            extensions={"timeout": {"connect": _CONNECT_SECONDS}},
        )
        line = self._line(route)
        line.in_use += 1
        try:
            await self._close_idle()
            async with line.limiter, self._limiter:
                response = None
                with _in_our_words(route), trio.move_on_after(timeout_seconds):
                    response = await self._begun(line, request)
                if response is None:
                    raise HostUnreachable(f"{route.host_header} has not answered within {timeout_seconds:.0f} s")
                try:
                    given = _response_headers(response.headers)
                    if given.get("content-encoding", "identity").lower() not in ("identity", ""):
                        raise AnswerInvalid("the answer is encoded, which was not asked for")
                    async with contextlib.aclosing(_paced(route, response)) as parts:
                        yield OpenResponse(response.status, given, parts)
                    line.answers += 1
                finally:
                    with trio.CancelScope(shield=True, deadline=trio.current_time() + _CLOSE_SECONDS):
                        await response.aclose()
        finally:
            line.in_use -= 1
            line.used_at = trio.current_time()

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
        where = _url(url, schemes)
        seen = {where}
        deadline = trio.current_time() + timeout_seconds
        while True:
            if not permits(where.host):
                raise AddressRefused(f"{where.host} is not among the hosts that may be asked")
            target, left = where.raw_path.decode(), deadline - trio.current_time()
            async with self.open(_route(where), target, headers or {}, timeout_seconds=max(left, 0)) as response:
                location = response.headers.get("location")
                if response.status not in _REDIRECTS or location is None:
                    yield response
                    return
            where = _url(location, schemes, base=where)
            if where in seen or len(seen) > max_redirects:
                raise AnswerInvalid(f"{url[:200]} is redirected without end")
            seen.add(where)

    async def aclose(self) -> None:
        """Close every connection."""
        while self._lines:
            _, line = self._lines.popitem()
            await _close(line)

    async def _exchange(self, route: Route, request: httpcore.Request, max_bytes: int) -> Response:
        line = self._line(route)
        answers_before = line.answers
        line.in_use += 1
        try:
            await self._close_idle()
            # A host that is slow has its own queue, and takes no more than its share of what all have.
            async with line.limiter, self._limiter:
                with _in_our_words(route):
                    try:
                        return await self._answer(line, request, max_bytes)
                    except (httpcore.RemoteProtocolError, httpcore.ReadError, httpcore.WriteError):
                        # A connection that was kept may have been closed at the other end just now.
                        if request.method.decode() not in _SAFE_TO_REPEAT or not answers_before:
                            raise
                        return await self._answer(line, request, max_bytes)
        finally:
            line.in_use -= 1
            line.used_at = trio.current_time()

    async def _answer(self, line: _Line, request: httpcore.Request, max_bytes: int) -> Response:
        response = await line.pool.handle_async_request(request)
        try:
            headers = _response_headers(response.headers)
            body = _Body(headers.get("content-encoding", "identity").lower(), max_bytes)
            async for chunk in response.aiter_stream():
                body.feed(chunk)
            line.answers += 1
            return Response(response.status, headers, body.whole())
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + _CLOSE_SECONDS):
                await response.aclose()

    async def _begun(self, line: _Line, request: httpcore.Request) -> httpcore.Response:
        """Send a request that may be repeated, and return its answer before its body has come."""
        answers_before = line.answers
        try:
            return await line.pool.handle_async_request(request)
        except (httpcore.RemoteProtocolError, httpcore.ReadError, httpcore.WriteError):
            if not answers_before:
                raise
            return await line.pool.handle_async_request(request)

    def _line(self, route: Route) -> _Line:
        """Return the connections of a route."""
        line = self._lines.get(route)
        if line is None:
            pool = httpcore.AsyncConnectionPool(
                ssl_context=self._tls,
                max_connections=_CONNECTIONS_PER_ROUTE,
                keepalive_expiry=_IDLE_SECONDS,
                network_backend=_CheckedConnections(route, self._dns, self._allowed),
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


class _CheckedConnections(httpcore.AsyncNetworkBackend):
    """Connects to the places of a route, to addresses that were checked."""

    def __init__(self, route: Route, dns: Dns, allowed: AllowedAddresses) -> None:
        self._route = route
        self._dns = dns
        self._allowed = allowed
        self._backend = httpcore.TrioBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # the interface is httpcore's
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first place that answers, whatever host and port are named."""
        del host, port
        reason: Exception | None = None
        for place in in_order(self._route.places):
            try:
                addresses = await self._dns.addresses(place.host)
            except HostUnreachable as error:
                reason = error
                continue
            for address in addresses:
                if not self._allowed.permits(address):
                    reason = reason or AddressRefused(f"{place.host} is in a network that requests may not go to")
                    continue
                end = final_address(address) if address.version == 6 and address.ipv4_mapped else address
                try:
                    return await self._backend.connect_tcp(str(end), place.port, timeout, local_address, socket_options)
                except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                    reason = error
        raise reason or HostUnreachable(f"{self._route.host_header} has no address")

    async def sleep(self, seconds: float) -> None:
        """Wait between attempts."""
        await trio.sleep(seconds)


class _Body:
    """A body as it comes, decoded, and never larger than it may be."""

    def __init__(self, encoding: str, max_bytes: int) -> None:
        if encoding not in ("identity", "gzip", "x-gzip", ""):
            raise AnswerInvalid(f"the answer is encoded as {encoding[:50]!r}, which was not asked for")
        self._decoder = zlib.decompressobj(zlib.MAX_WBITS | 16) if "gzip" in encoding else None
        self._max_bytes = max_bytes
        self._parts: list[bytes] = []
        self._size = 0
        self._begun = False

    def feed(self, chunk: bytes) -> None:
        """Take in a part of the body."""
        self._begun = True
        if self._decoder is not None:
            try:
                # One byte more than there may be tells that there is more.
                chunk = self._decoder.decompress(chunk, self._max_bytes - self._size + 1)
            except zlib.error as error:
                raise AnswerInvalid("the answer is not the gzip that it says it is") from error
        self._size += len(chunk)
        if self._size > self._max_bytes:
            raise AnswerInvalid(f"the answer is larger than {self._max_bytes} bytes")
        self._parts.append(chunk)

    def whole(self) -> bytes:
        """Return the body after its last part."""
        if self._decoder is not None and self._begun and not self._decoder.eof:
            raise AnswerInvalid("the answer is not the gzip that it says it is")
        return b"".join(self._parts)


async def _close(line: _Line) -> None:
    with trio.CancelScope(shield=True, deadline=trio.current_time() + _CLOSE_SECONDS):
        await line.pool.aclose()


def _route(url: httpx.URL) -> Route:
    name = url.raw_host.decode()
    port = url.port or _PORTS[url.scheme]
    return Route(name, url.netloc.decode(), (Place.at(name, port),), url.scheme)


def _url(text: str, schemes: Iterable[str], base: httpx.URL | None = None) -> httpx.URL:
    """Return a foreign URL; raise AnswerInvalid if requests do not go to such."""
    try:
        url = httpx.URL(text) if base is None else base.join(text)
    except (httpx.InvalidURL, ValueError) as error:
        raise AnswerInvalid(f"{text[:200]!r} is not a URL") from error
    if url.scheme not in schemes or not url.raw_host or url.userinfo:
        raise AnswerInvalid(f"{text[:200]!r} is not a URL that requests go to")
    return url.copy_with(fragment=None)


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
