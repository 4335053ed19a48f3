"""A request as it came, whatever carried it, and how its parts are read: headers, access token, query string, body."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, get_origin
from urllib.parse import parse_qs

from pydantic import BaseModel, ValidationError

from tricord.homeserver.serving.call import Header
from tricord.homeserver.serving.errors import Refused
from tricord.protocol.errors import BadJson, InvalidParam, MatrixError, MissingParam, TooLarge
from tricord.protocol.strict_json import JsonObject

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

    @property
    def uri(self) -> str:
        """The request target, as it was written."""
        uri = self.path.decode("latin1")
        if self.query_string or self.has_bare_query:
            uri += "?" + self.query_string.decode("latin1")
        return uri

    @property
    def content_length(self) -> int | None:
        """How many bytes the body has, where the client says so."""
        text = self.header(b"content-length")
        return int(text) if text.isdigit() else None

    def header(self, wanted: bytes) -> str:
        """Return the first header of that name; empty if there is none."""
        for name, value in self.headers:
            if name == wanted:
                return value.decode("latin1")
        return ""

    def access_token(self) -> str | None:
        """Return the token from the header, or from the query string, where the specification still allows it."""
        given = self.header(b"authorization")
        if given:
            scheme, _, token = given.partition(" ")
            if scheme.lower() == "bearer" and token.strip():
                return token.strip()
            return None
        if b"access_token=" in self.query_string:
            values = self.parameters().get("access_token")
            return values[-1] if values else None
        return None

    def parameters(self) -> dict[str, list[str]]:
        """Return the query string, decoded. Raises InvalidParam."""
        if not self.query_string:
            return {}
        try:
            return parse_qs(
                self.query_string.decode(), keep_blank_values=True, max_num_fields=_MOST_PARAMETERS, errors="strict"
            )
        except ValueError:
            raise InvalidParam("the query string is not UTF-8, or has too many parameters") from None


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


def query_of(model: type[BaseModel] | None, parameters: Mapping[str, list[str]]) -> BaseModel | None:
    """Return the parameters as an endpoint describes them. Raises InvalidParam and MissingParam."""
    if model is None:
        return None
    given: dict[str, Any] = {}
    are_lists = _parameters_of(model)
    for name, values in parameters.items():
        is_list = are_lists.get(name)
        if is_list is None:
            continue
        for value in values:
            if "\0" in value:
                raise InvalidParam(f"`{name}` holds a NUL")
        given[name] = values if is_list else values[-1]
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise _in_words(error, InvalidParam) from None


@cache
def _parameters_of(model: type[BaseModel]) -> Mapping[str, bool]:
    """Return the parameters that a model describes, and which of them may be given several times."""
    return {info.alias or name: get_origin(info.annotation) is list for name, info in model.model_fields.items()}


def body_of(model: type[BaseModel] | None, body: JsonObject) -> BaseModel | JsonObject:
    """Return a JSON body as an endpoint describes it. Raises BadJson and MissingParam."""
    if model is None:
        return body
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


def check_target(target: bytes) -> None:
    """Refuse a request target that is not a path: a URL with a host, a part after `#`, the authority of CONNECT."""
    if (not target.startswith(b"/") and target != b"*") or b"#" in target:
        raise Refused(400, "the request target is not a path")
