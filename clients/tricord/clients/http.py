"""Requests to one homeserver: encoded from an endpoint's description, retried where that is safe, refusals raised.

What is retried: a 429, after the time it names; and, for requests that mean the same when they arrive twice (GET, PUT,
DELETE: the specification gives every such send a transaction id), lost connections and errors of gateways (502, 503,
504), with a growing, jittered pause. A POST whose connection broke is not repeated: it may have happened.

An access token that has expired is renewed, if there is a refresh token, and the request is made again.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import secrets
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx
import orjson
import trio
from pydantic import BaseModel, ValidationError

from tricord.clients.api.login import Refresh
from tricord.clients.endpoint import Authentication, Endpoint
from tricord.clients.errors import Refused, SignedOut, UnexpectedAnswer, Unreachable

M = TypeVar("M", bound=BaseModel)

_log = logging.getLogger(__name__)

_SAFE_TO_REPEAT = frozenset({"GET", "PUT", "DELETE"})
_GATEWAY_ERRORS = frozenset({502, 503, 504})
# The homeserver itself says these with such a status, and would say them again.
_OF_THE_HOMESERVER = frozenset({"M_TOO_LARGE", "M_NOT_YET_UPLOADED"})
# The request has not left us, so that a POST too may be made again.
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
# Nothing that time would heal.
_HOPELESS = (httpx.UnsupportedProtocol, httpx.LocalProtocolError)
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 30
# A pause after which somebody may wonder why nothing happens.
_LONG_PAUSE_SECONDS = 2
# Between two parts of a file, and for the homeserver to have it, which may fetch it from far away.
_FILE_PAUSE_SECONDS = 120
_CLOSE_SECONDS = 2
_jitter = secrets.SystemRandom()


@dataclass(frozen=True, slots=True)
class Tokens:
    """What proves who we are, and what renews that."""

    access_token: str = field(repr=False)
    refresh_token: str | None = field(default=None, repr=False)


Keep = Callable[[Tokens], Awaitable[None]]
Content = bytes | Callable[[], AsyncIterator[bytes]]
"""A body, or what gives it in parts, from the beginning each time that it is called."""


class Http:
    """A pool of connections to one homeserver, and the tokens that go with the requests.

    `patience_seconds` bounds how long one request is retried before `Unreachable` is raised. `keep` is told of renewed
    tokens before they are first used: until then the old refresh token stays valid, so that a crash in between costs
    nothing.
    """

    def __init__(
        self,
        base_url: str,
        *,
        tokens: Tokens | None = None,
        patience_seconds: float = 60,
        transport: httpx.AsyncBaseTransport | None = None,
        keep: Keep | None = None,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.tokens = tokens
        self._patience_seconds = patience_seconds
        self._keep = keep
        # However many requests find the token expired, one renews it and the others wait for that.
        self._renewing = trio.Lock()
        self._client = httpx.AsyncClient(
            verify=_authorities(),
            transport=transport,
            timeout=httpx.Timeout(30, connect=10, pool=None),
            follow_redirects=False,
        )

    @property
    def access_token(self) -> str | None:
        """What proves who we are."""
        return None if self.tokens is None else self.tokens.access_token

    async def aclose(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    async def call(
        self,
        endpoint: type[Endpoint],
        path: Mapping[str, str] | None = None,
        *,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        answer_within_seconds: float = 30,
    ) -> Any:
        """Call an endpoint and return the JSON of its answer.

        Raises Refused, SignedOut, Unreachable or UnexpectedAnswer.
        """
        content = None
        if body is not None or endpoint.method in ("POST", "PUT"):
            content = orjson.dumps(body or {})
        headers = {} if content is None else {"Content-Type": "application/json"}
        return _json(
            await self.exchange(endpoint, path, query, headers, content, answer_within_seconds=answer_within_seconds)
        )

    async def upload(
        self,
        endpoint: type[Endpoint],
        path: Mapping[str, str] | None = None,
        *,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str],
        content: Content,
    ) -> Any:
        """Call an endpoint whose body is a file, and return the JSON of its answer."""
        return _json(
            await self.exchange(endpoint, path, query, headers, content, answer_within_seconds=_FILE_PAUSE_SECONDS)
        )

    @contextlib.asynccontextmanager
    async def download(
        self,
        endpoint: type[Endpoint],
        path: Mapping[str, str] | None = None,
        *,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[httpx.Response]:
        """Call an endpoint that answers with a file, and give the answer while its body comes."""
        response = await self.exchange(
            endpoint, path, query, headers or {}, None, answer_within_seconds=_FILE_PAUSE_SECONDS, stream=True
        )
        try:
            yield response
        except httpx.TransportError as error:
            raise Unreachable(f"{_shown(response.request)}: {error!r}") from error
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + _CLOSE_SECONDS):
                await response.aclose()

    async def exchange(
        self,
        endpoint: type[Endpoint],
        path: Mapping[str, str] | None,
        query: Mapping[str, Any] | None,
        headers: Mapping[str, str],
        content: Content | None,
        *,
        answer_within_seconds: float,
        stream: bool = False,
    ) -> httpx.Response:
        """Send the request of an endpoint, as often as is sensible, and return its answer.

        With `stream` the body of the answer has not been read, and the caller closes it.
        """
        tokens = None if endpoint.authentication is Authentication.NONE else self.tokens

        def request(tokens: Tokens | None) -> httpx.Request:
            proof = {} if tokens is None else {"Authorization": f"Bearer {tokens.access_token}"}
            return self._client.build_request(
                endpoint.method,
                self.base_url + endpoint.url(**(path or {})),
                params=_query(query or {}),
                headers={**headers, **proof},
                content=content() if callable(content) else content,
                timeout=httpx.Timeout(answer_within_seconds, connect=10, pool=None),
            )

        try:
            return await self._send(lambda: request(tokens), stream=stream)
        except SignedOut as refusal:
            if tokens is None or tokens.refresh_token is None:
                raise
            # Others have renewed the tokens meanwhile: with the first use of the new ones, these have ended.
            if tokens == self.tokens:
                if not refusal.soft:
                    raise
                await self._renew(tokens, refusal)
        return await self._send(lambda: request(self.tokens), stream=stream)

    async def typed(self, endpoint: type[Endpoint], response: type[M], *args: Any, **kwargs: Any) -> M:
        """Call an endpoint and return its answer as the model that the endpoint describes."""
        return as_described(endpoint, response, await self.call(endpoint, *args, **kwargs))

    async def refresh(self) -> None:
        """Renew the tokens now. Raises SignedOut if there is nothing to do it with, or if it is no longer valid.

        https://spec.matrix.org/v1.19/client-server-api/#refreshing-access-tokens
        """
        if self.tokens is None or self.tokens.refresh_token is None:
            raise SignedOut(401, {"errcode": "M_UNKNOWN_TOKEN", "error": "there is no refresh token"})
        await self._renew(self.tokens, None)

    async def _renew(self, expired: Tokens, refusal: SignedOut | None) -> None:
        async with self._renewing:
            if self.tokens != expired:
                return
            try:
                answer = await self.typed(Refresh, Refresh.Response, body={"refresh_token": expired.refresh_token})
            except SignedOut:
                raise
            except Refused as refused:
                if refused.status == 429 or refused.status >= 500:
                    raise
                # Of both refusals this one says what matters: whether the device lives on.
                raise refusal or SignedOut(refused.status, refused.body) from refused
            # Without a new refresh token the old one stays in use.
            tokens = Tokens(answer.access_token, answer.refresh_token or expired.refresh_token)
            if self._keep is not None:
                await self._keep(tokens)
            self.tokens = tokens

    async def _send(self, build: Callable[[], httpx.Request], *, stream: bool) -> httpx.Response:
        deadline = trio.current_time() + self._patience_seconds
        pause = _FIRST_PAUSE_SECONDS
        while True:
            reason: Exception
            # Built anew each time: a body that is streamed can be read once.
            request = build()
            try:
                response = await self._client.send(request, stream=stream)
                if stream and response.status_code >= 400:
                    await response.aread()
            except httpx.TransportError as error:
                reason, wait = error, _jittered(pause)
                repeatable = request.method in _SAFE_TO_REPEAT or isinstance(error, _NEVER_SENT)
                repeatable = repeatable and not isinstance(error, _HOPELESS)
            except httpx.DecodingError as error:
                raise UnexpectedAnswer(f"{_shown(request)}: {error}") from error
            else:
                if response.status_code < 400:
                    return response
                refusal = _refusal(response)
                reason, wait, repeatable = refusal, _jittered(pause), False
                if response.status_code == 429:
                    wait, repeatable = refusal.retry_after_seconds or wait, True
                elif response.status_code in _GATEWAY_ERRORS and refusal.errcode not in _OF_THE_HOMESERVER:
                    wait, repeatable = max(wait, refusal.retry_after_seconds or 0), request.method in _SAFE_TO_REPEAT
                if not repeatable:
                    raise refusal
            if not repeatable or trio.current_time() + wait > deadline:
                if isinstance(reason, Refused) and reason.status == 429:
                    raise reason
                raise Unreachable(f"{_shown(request)}: {reason!r}") from reason
            if pause == _LONG_PAUSE_SECONDS:
                _log.warning("%s: %r; trying again for %.0f s", _shown(request), reason, deadline - trio.current_time())
            await trio.sleep(wait)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)


@functools.cache
def _authorities() -> ssl.SSLContext:
    """Return what certificates are checked by. Every client shares it: reading all authorities takes 35 ms."""
    return httpx.create_ssl_context()


def as_described(endpoint: type[Endpoint], response: type[M], answer: Any) -> M:
    """Return an answer as the model that the endpoint describes; raise UnexpectedAnswer if it is something else."""
    try:
        return response.model_validate(answer)
    except ValidationError as error:
        raise UnexpectedAnswer(f"{endpoint.method} {endpoint.path}: {error}") from error


def _jittered(seconds: float) -> float:
    return seconds * _jitter.uniform(0.5, 1.5)


def _query(query: Mapping[str, Any]) -> dict[str, str | list[str]]:
    """Return the parameters as text; `None` means "not given", a list repeats its name."""
    return {
        name: [str(item) for item in value] if isinstance(value, list) else _parameter(value)
        for name, value in query.items()
        if value is not None
    }


def _parameter(value: Any) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def _shown(request: httpx.Request) -> str:
    """Return the request for a message: the query may hold what is nobody's business."""
    return f"{request.method} {request.url.copy_with(query=None)}"


def _json(response: httpx.Response) -> Any:
    try:
        return orjson.loads(response.content)
    except orjson.JSONDecodeError as error:
        raise UnexpectedAnswer(f"{_shown(response.request)}: status {response.status_code}, not JSON") from error


def _refusal(response: httpx.Response) -> Refused:
    try:
        body = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        body = None
    if not isinstance(body, dict):
        body = {"errcode": "M_UNKNOWN", "error": response.reason_phrase}
    kind = SignedOut if response.status_code == 401 and body.get("errcode") == "M_UNKNOWN_TOKEN" else Refused
    return kind(response.status_code, body, retry_after=response.headers.get("retry-after"))
