"""Requests to one homeserver: encoded from an endpoint's description, retried where that is safe, refusals raised.

What is retried: a 429, after the time it names; and, for requests that mean the same when they arrive twice (GET, PUT,
DELETE: the specification gives every such send a transaction id), lost connections and errors of gateways (502, 503,
504), with a growing, jittered pause. A POST whose connection broke is not repeated: it may have happened.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, TypeVar

import httpx
import orjson
import trio
from pydantic import BaseModel, ValidationError

from tricord.clients.endpoint import Authentication, Endpoint
from tricord.clients.errors import Refused, SignedOut, UnexpectedAnswer, Unreachable

M = TypeVar("M", bound=BaseModel)

_SAFE_TO_REPEAT = frozenset({"GET", "PUT", "DELETE"})
_GATEWAY_ERRORS = frozenset({502, 503, 504})
_jitter = secrets.SystemRandom()


class Http:
    """A pool of connections to one homeserver, and the access token that goes with each request.

    `patience_seconds` bounds how long one request is retried before `Unreachable` is raised.
    """

    def __init__(
        self,
        base_url: str,
        *,
        access_token: str | None = None,
        patience_seconds: float = 60,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.access_token = access_token
        self._patience_seconds = patience_seconds
        self._client = httpx.AsyncClient(
            transport=transport, timeout=httpx.Timeout(30, connect=10, pool=None), follow_redirects=False
        )

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
        headers = {}
        content = None
        if self.access_token is not None and endpoint.authentication is not Authentication.NONE:
            headers["Authorization"] = f"Bearer {self.access_token}"
        if body is not None or endpoint.method in ("POST", "PUT"):
            content = orjson.dumps(body or {})
            headers["Content-Type"] = "application/json"
        request = self._client.build_request(
            endpoint.method,
            self.base_url + endpoint.url(**(path or {})),
            params=_query(query or {}),
            headers=headers,
            content=content,
            timeout=httpx.Timeout(answer_within_seconds, connect=10, pool=None),
        )
        return _json(await self._send(request))

    async def typed(self, endpoint: type[Endpoint], response: type[M], *args: Any, **kwargs: Any) -> M:
        """Call an endpoint and return its answer as the model that the endpoint describes."""
        answer = await self.call(endpoint, *args, **kwargs)
        try:
            return response.model_validate(answer)
        except ValidationError as error:
            raise UnexpectedAnswer(f"{endpoint.method} {endpoint.path}: {error}") from error

    async def _send(self, request: httpx.Request) -> httpx.Response:
        deadline = trio.current_time() + self._patience_seconds
        pause = 0.5
        while True:
            reason: Exception
            try:
                response = await self._client.send(request)
            except httpx.TransportError as error:
                reason, wait = error, _jittered(pause)
                repeatable = request.method in _SAFE_TO_REPEAT or isinstance(error, httpx.ConnectError)
            else:
                if response.status_code < 400:
                    return response
                refusal = _refusal(response)
                reason, wait, repeatable = refusal, _jittered(pause), False
                if response.status_code == 429:
                    wait, repeatable = refusal.retry_after_seconds or _jittered(pause), True
                elif response.status_code in _GATEWAY_ERRORS:
                    repeatable = request.method in _SAFE_TO_REPEAT
                if not repeatable:
                    raise refusal
            if not repeatable or trio.current_time() + wait > deadline:
                if isinstance(reason, Refused) and reason.status == 429:
                    raise reason
                raise Unreachable(f"{request.method} {request.url.copy_with(query=None)}: {reason!r}") from reason
            await trio.sleep(wait)
            pause = min(pause * 2, 30)


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


def _json(response: httpx.Response) -> Any:
    try:
        return orjson.loads(response.content)
    except orjson.JSONDecodeError as error:
        raise UnexpectedAnswer(f"{response.request.method} {response.request.url.path}: not JSON") from error


def _refusal(response: httpx.Response) -> Refused:
    try:
        body = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        body = None
    if not isinstance(body, dict):
        body = {"errcode": "M_UNKNOWN", "error": response.reason_phrase}
    if response.status_code == 401 and body.get("errcode") == "M_UNKNOWN_TOKEN":
        return SignedOut(response.status_code, body)
    return Refused(response.status_code, body)
