"""Calls to other servers: encoded from an endpoint's description, signed, answered with JSON or a `PeerError`."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any, TypeVar
from urllib.parse import urlencode

import trio
from pydantic import BaseModel, ValidationError

from tricord.clients.endpoint import Authentication, Endpoint
from tricord.federation.answers import read_answer
from tricord.federation.errors import PeerAnswerInvalid, PeerRefused, PeerUnreachable
from tricord.federation.health import PeerHealth
from tricord.federation.request_auth import authorization_header
from tricord.federation.transport import OpenResponse, Response, Transport
from tricord.protocol.canonical_json import lenient_canonical_json
from tricord.protocol.errors import BadJson
from tricord.protocol.identifiers import ServerName
from tricord.protocol.signing import SigningKey
from tricord.protocol.strict_json import JsonObject

M = TypeVar("M", bound=BaseModel)

_USUAL_SECONDS = 30.0
_USUAL_BYTES = 2 << 20
# Parsing this much takes a millisecond or so; more of it goes where it stops nobody.
_PARSED_AT_ONCE = 256 << 10
_LONGEST_REFUSAL = 64 << 10
# What stands in front of a server says this when the server itself does not answer.
_GATEWAY_ERRORS = frozenset({502, 503, 504, *range(520, 531)})


class FederationClient:
    """Calls the endpoints of other servers in the name of one server."""

    def __init__(
        self,
        transport: Transport,
        server_name: ServerName,
        signing_key: SigningKey,
        health: PeerHealth | None = None,
    ) -> None:
        self.server_name = server_name
        self.health = health or PeerHealth()
        self._transport = transport
        self._signing_key = signing_key

    async def call(
        self,
        destination: ServerName,
        endpoint: type[Endpoint],
        path: Mapping[str, str] | None = None,
        query: Mapping[str, Any] | None = None,
        body: JsonObject | None = None,
        *,
        timeout_seconds: float = _USUAL_SECONDS,
        max_bytes: int = _USUAL_BYTES,
        urgent: bool = False,
    ) -> Any:
        """Call an endpoint of another server once, and return the JSON of its answer.

        A call that is not urgent fails at once while the server is backed off from. Raises PeerRefused, PeerUnreachable
        or PeerAnswerInvalid.
        """
        self._check_may_be_called(destination, urgent=urgent)
        content = None
        headers = {"Accept": "application/json"}
        if body is not None or endpoint.method in ("POST", "PUT"):
            content = lenient_canonical_json(body or {})
            headers["Content-Type"] = "application/json"
        uri = endpoint.url(**(path or {})) + _query_string(query or {})
        if endpoint.authentication is Authentication.SIGNED_REQUEST:
            headers["Authorization"] = authorization_header(
                endpoint.method, uri, self.server_name, destination, self._signing_key, content
            )
        response = await self._send(destination, endpoint.method, uri, headers, content, timeout_seconds, max_bytes)
        if not 200 <= response.status < 300:
            raise _refusal(destination, response)
        return await _parsed(destination, endpoint, response.body)

    async def typed(
        self,
        destination: ServerName,
        endpoint: type[Endpoint],
        model: type[M],
        path: Mapping[str, str] | None = None,
        query: Mapping[str, Any] | None = None,
        body: JsonObject | None = None,
        *,
        timeout_seconds: float = _USUAL_SECONDS,
        max_bytes: int = _USUAL_BYTES,
        urgent: bool = False,
    ) -> M:
        """Call an endpoint, and return its answer as the model that the endpoint describes."""
        answer = await self.call(
            destination,
            endpoint,
            path,
            query,
            body,
            timeout_seconds=timeout_seconds,
            max_bytes=max_bytes,
            urgent=urgent,
        )
        try:
            # Strict: no "1" for 1, and no 1 for true.
            return model.model_validate(answer, strict=True)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            where = ".".join(str(part)[:64] for part in first["loc"])
            what = f"answer to {endpoint.path}: {where}: {first['msg'][:200]}"
            raise PeerAnswerInvalid(destination, what) from None

    @contextlib.asynccontextmanager
    async def open(
        self,
        destination: ServerName,
        endpoint: type[Endpoint],
        path: Mapping[str, str],
        query: Mapping[str, Any] | None = None,
        *,
        timeout_seconds: float = _USUAL_SECONDS,
    ) -> AsyncIterator[OpenResponse]:
        """Call an endpoint that answers with a file, and give its answer as it comes, while inside the block.

        Raises PeerRefused, PeerUnreachable or PeerAnswerInvalid; so does reading.
        """
        self._check_may_be_called(destination)
        uri = endpoint.url(**path) + _query_string(query or {})
        headers = {}
        if endpoint.authentication is Authentication.SIGNED_REQUEST:
            headers["Authorization"] = authorization_header(
                endpoint.method, uri, self.server_name, destination, self._signing_key, None
            )
        async with contextlib.AsyncExitStack() as stack:
            try:
                answer = await stack.enter_async_context(
                    self._transport.open(destination, uri, headers, timeout_seconds=timeout_seconds)
                )
            except PeerUnreachable:
                self.health.note_unreachable(destination)
                raise
            if answer.status != 200:
                body = await _first_bytes(answer.parts)
                if answer.status in _GATEWAY_ERRORS and not _is_matrix_error(body):
                    raise PeerUnreachable(destination, f"what stands in front of it answers {answer.status}")
                raise _refusal(destination, Response(answer.status, answer.headers, body))
            self.health.note_alive(destination)
            yield answer

    def open_url(self, url: str, *, timeout_seconds: float) -> contextlib.AbstractAsyncContextManager[OpenResponse]:
        """Ask for what another server has given a URL of, unsigned. Raises HostUnreachable and AnswerInvalid."""
        return self._transport.open_url(url, timeout_seconds=timeout_seconds)

    def _check_may_be_called(self, destination: ServerName, *, urgent: bool = False) -> None:
        if destination == self.server_name:
            raise PeerUnreachable(destination, "is this server itself")
        if not urgent and not self.health.may_be_called(destination):
            raise PeerUnreachable(destination, "has not answered of late, and is left alone for now")

    async def _send(
        self,
        destination: ServerName,
        method: str,
        uri: str,
        headers: Mapping[str, str],
        content: bytes | None,
        timeout_seconds: float,
        max_bytes: int,
    ) -> Response:
        """Send once, and take note of whether the server lives; what is no HTTP tells neither."""
        response = None
        try:
            with trio.move_on_after(timeout_seconds):
                response = await self._transport.send(
                    destination, method, uri, headers, content, timeout_seconds=timeout_seconds, max_bytes=max_bytes
                )
            if response is None:
                raise PeerUnreachable(destination, f"has not answered within {timeout_seconds:.0f} s")
            if response.status in _GATEWAY_ERRORS and not _is_matrix_error(response.body):
                raise PeerUnreachable(destination, f"what stands in front of it answers {response.status}")
        except PeerUnreachable:
            self.health.note_unreachable(destination)
            raise
        self.health.note_alive(destination)
        return response


async def _parsed(destination: ServerName, endpoint: type[Endpoint], body: bytes) -> Any:
    try:
        if len(body) <= _PARSED_AT_ONCE:
            return read_answer(body)
        return await trio.to_thread.run_sync(read_answer, body)
    except BadJson as error:
        raise PeerAnswerInvalid(destination, f"answer to {endpoint.path}: {error.message}") from error


def _refusal(destination: ServerName, response: Response) -> PeerRefused | PeerAnswerInvalid:
    if response.status < 400:
        # Redirects are for discovery alone: the request was signed for this server.
        return PeerAnswerInvalid(destination, f"answered with status {response.status}")
    try:
        body = read_answer(response.body)
    except BadJson:
        body = None
    return PeerRefused(destination, response.status, body if isinstance(body, dict) else {})


async def _first_bytes(parts: AsyncIterator[bytes]) -> bytes:
    """Return as much of a body as a refusal may have."""
    body = b""
    async for part in parts:
        body += part
        if len(body) > _LONGEST_REFUSAL:
            break
    return body[:_LONGEST_REFUSAL]


def _is_matrix_error(body: bytes) -> bool:
    try:
        value = read_answer(body)
    except BadJson:
        return False
    return isinstance(value, dict) and isinstance(value.get("errcode"), str)


def _query_string(query: Mapping[str, Any]) -> str:
    """Return the parameters with the `?`; `None` means "not given", a list repeats its name."""
    pairs = [
        (name, _parameter(item))
        for name, value in query.items()
        if value is not None
        for item in (value if isinstance(value, list) else [value])
    ]
    return "?" + urlencode(pairs) if pairs else ""


def _parameter(value: Any) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)
