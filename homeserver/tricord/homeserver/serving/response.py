"""Answers ready to be sent: what a handler returned, or why there is nothing for it to return."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import orjson
from pydantic import BaseModel

from tricord.homeserver.serving.call import Answer, Header
from tricord.homeserver.serving.errors import Refused
from tricord.protocol.errors import MatrixError, TooLarge
from tricord.protocol.strict_json import JsonObject

# https://spec.matrix.org/v1.19/client-server-api/#web-browser-clients
_CORS_HEADERS: tuple[Header, ...] = (
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"GET, HEAD, POST, PUT, DELETE, OPTIONS"),
    (b"access-control-allow-headers", b"X-Requested-With, Content-Type, Authorization, Date"),
    (b"access-control-expose-headers", b"Retry-After"),
)
_JSON: Header = (b"content-type", b"application/json")


@dataclass(slots=True)
class Response:
    """An answer ready to be sent."""

    status: int
    headers: list[Header]
    body: bytes | AsyncIterator[bytes]
    close: bool = False
    """The connection does not go on: the request was not read to its end, or the server stops."""
    route: str = field(default="", compare=False)

    def carried_headers(self, *, http1: bool) -> list[Header]:
        """Return the headers of the answer: its own, and those of how it is carried."""
        headers = self.headers
        if isinstance(self.body, bytes):
            headers = [*headers, (b"content-length", b"%d" % len(self.body))]
        # Connection-specific headers are malformed in HTTP/2: https://www.rfc-editor.org/rfc/rfc9113#section-8.2.2
        if self.close and http1:
            headers = [*headers, (b"connection", b"close")]
        return headers

    @property
    def json(self) -> bytes:
        """The body, of an answer that is to be JSON."""
        return self.body if isinstance(self.body, bytes) else b"{}"


def response_of(answer: Answer | JsonObject | BaseModel) -> Response:
    """Return what a handler has answered as it is sent."""
    if isinstance(answer, Answer):
        body, status, headers = answer.body, answer.status, list(answer.headers)
    else:
        body, status, headers = answer, 200, []
    if not any(name == b"content-type" for name, _ in headers):
        headers.append(_JSON)
    headers.extend(_CORS_HEADERS)
    if isinstance(body, dict | list):
        body = orjson.dumps(body)
    elif isinstance(body, BaseModel):
        body = orjson.dumps(body.model_dump(mode="json", by_alias=True, exclude_none=True))
    return Response(status, headers, body)


def preflight() -> Response:
    """Return the answer to a browser that asks beforehand what a page may do."""
    return Response(200, [_JSON, *_CORS_HEADERS], b"{}", route="preflight")


def refusal(error: MatrixError) -> Response:
    """Return the answer to a request that is refused in Matrix's own words."""
    headers = [_JSON, *_CORS_HEADERS]
    retry_after_ms = error.extra.get("retry_after_ms")
    if isinstance(retry_after_ms, int):
        headers.append((b"retry-after", str(math.ceil(retry_after_ms / 1000)).encode()))
    return Response(error.status, headers, orjson.dumps(error.body()), close=isinstance(error, TooLarge))


def unreadable(refused: Refused) -> Response:
    """Return the answer to a request that cannot be read."""
    response = failure(refused.status, refused.words)
    response.close = True
    return response


def stopping() -> Response:
    """Return the answer to who waits for something to happen while the server stops."""
    response = failure(503, "the server stops, try again", (b"retry-after", b"1"))
    response.close = True
    return response


def failure(status: int, words: str, *headers: Header) -> Response:
    """Return an answer that Matrix has no error of its own for."""
    body = orjson.dumps({"errcode": "M_UNKNOWN", "error": words})
    return Response(status, [_JSON, *_CORS_HEADERS, *headers], body)
