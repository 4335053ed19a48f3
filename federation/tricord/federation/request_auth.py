"""Signatures on requests between servers: the X-Matrix header, written and read.

https://spec.matrix.org/v1.19/server-server-api/#request-authentication
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from tricord.federation.health import PeerHealth
from tricord.protocol.canonical_json import lenient_canonical_json
from tricord.protocol.errors import BadJson, InvalidParam, SignatureInvalid, Unauthorized
from tricord.protocol.identifiers import KeyId, ServerName, parse_server_name
from tricord.protocol.signing import ALGORITHM, SigningKey, verify_signature
from tricord.protocol.unpadded_base64 import decode_base64
from tricord.protocol.verify import KeyName, ServerKey

# A server signs with each of its keys at most; nobody has so many.
_MOST_SIGNATURES = 5
_LONGEST_HEADER = 4096
_LONGEST_KEY_ID = 255

_SCHEME = re.compile(r"x-matrix +", re.IGNORECASE)
_COMMA = re.compile(r"[ \t]*,[ \t]*")
# Quoted, or a token; older servers leave colons unquoted, and some what base64 needs.
_PARAMETER = re.compile(
    r"(?P<name>[!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*=[ \t]*"
    r'(?:"(?P<quoted>(?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[\t\x20-\x7e])*)"'
    r"|(?P<bare>[!#$%&'*+.^_`|~0-9A-Za-z:/=\[\]-]+))"
)
_ESCAPED = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True)
class RequestSignature:
    """What an X-Matrix header says; nothing of it is checked yet but its form."""

    origin: ServerName
    destination: ServerName | None
    key_id: KeyId
    signature: bytes


class Keys(Protocol):
    """Where the public keys of servers come from."""

    async def keys(self, names: Iterable[KeyName], *, valid_at_ts: int) -> Mapping[KeyName, ServerKey]:
        """Return those of the keys that can be had."""
        ...


class Clock(Protocol):
    """Tells the time of day."""

    def now_ms(self) -> int:
        """Return milliseconds since the epoch, UTC."""
        ...


class RequestAuthenticator:
    """Knows which server signed a request to this one."""

    def __init__(self, server_name: ServerName, keys: Keys, health: PeerHealth, clock: Clock) -> None:
        self._server_name = server_name
        self._keys = keys
        self._health = health
        self._clock = clock

    async def origin_of(self, method: str, uri: str, authorization: Sequence[str], body: Any) -> ServerName:
        """Return which server signed a request; `body` is its JSON, None if there was none. Raises Unauthorized."""
        # All that can be refused without keys is, so that nobody makes us ask around for nothing.
        signatures = _signatures_for(self._server_name, authorization)
        origin = signatures[0].origin
        content = None
        if body is not None:
            try:
                content = lenient_canonical_json(body)
            except BadJson as error:
                raise Unauthorized(f"the body cannot have been signed: {error.message}") from error
        now = self._clock.now_ms()
        names = {signature.key_id: (origin, signature.key_id) for signature in signatures}
        keys = await self._keys.keys(names.values(), valid_at_ts=now)
        reason = "the keys it names are not to be had, or have expired"
        for signature in signatures:
            key = keys.get(names[signature.key_id])
            if key is None or key.valid_until_ts < now:
                continue
            try:
                check(signature, method, uri, self._server_name, content, key.public_key)
            except SignatureInvalid as error:
                reason = str(error)
                continue
            self._health.note_alive(origin)
            return origin
        raise Unauthorized(f"the request is not signed by {origin}: {reason}")


def authorization_header(
    method: str,
    uri: str,
    origin: ServerName,
    destination: ServerName,
    key: SigningKey,
    content: bytes | None,
) -> str:
    """Return the header that signs a request; `content` is the body in canonical JSON, `uri` the path and query."""
    signature = key.sign(signed_request(method, uri, origin, destination, content))
    # All four have neither quotes nor backslashes, by their grammars.
    return f'X-Matrix origin="{origin}",destination="{destination}",key="{key.key_id}",sig="{signature}"'


def parse_authorization(value: str) -> RequestSignature | None:
    """Read an Authorization header; None if it is of another scheme. Raises Unauthorized if it is malformed."""
    scheme = _SCHEME.match(value)
    if scheme is None:
        return None
    if len(value) > _LONGEST_HEADER:
        raise Unauthorized("the X-Matrix header is too long")
    parameters = _parameters(value.rstrip(" \t"), scheme.end())
    try:
        origin = parse_server_name(parameters["origin"])
        destination = parse_server_name(parameters["destination"]) if "destination" in parameters else None
        key_id, signature = parameters["key"], decode_base64(parameters["sig"])
    except KeyError as error:
        raise Unauthorized(f"the X-Matrix header has no {error.args[0]}") from error
    except (InvalidParam, BadJson) as error:
        raise Unauthorized(f"the X-Matrix header is malformed: {error.message}") from error
    if not key_id.startswith(f"{ALGORITHM}:") or len(key_id) > _LONGEST_KEY_ID:
        raise Unauthorized(f"the X-Matrix header names no {ALGORITHM} key")
    return RequestSignature(origin, destination, KeyId(key_id), signature)


def signed_request(
    method: str, uri: str, origin: ServerName, destination: ServerName | None, content: bytes | None
) -> bytes:
    """Return what the signature on a request covers; `content` is the body in canonical JSON."""
    request = {"method": method, "origin": origin, "uri": uri}
    if destination is not None:
        request["destination"] = destination
    rest = orjson.dumps(request, option=orjson.OPT_SORT_KEYS)
    # "content" sorts before all the others, so the body need not be encoded a second time.
    return rest if content is None else b'{"content":' + content + b"," + rest[1:]


def check(
    signature: RequestSignature,
    method: str,
    uri: str,
    destination: ServerName,
    content: bytes | None,
    public_key: bytes,
) -> None:
    """Check a signature on a request to `destination`; raise SignatureInvalid.

    A header that names no destination, as those of servers before v1.3 do, was signed without one.
    """
    named = None if signature.destination is None else destination
    message = signed_request(method, uri, signature.origin, named, content)
    verify_signature(message, signature.signature, public_key)


def _signatures_for(server_name: ServerName, authorization: Sequence[str]) -> list[RequestSignature]:
    """Return the signatures of a request to this server, all by one other; raise Unauthorized."""
    if len(authorization) > _MOST_SIGNATURES:
        raise Unauthorized("a request has a few signatures at most")
    signatures = [found for value in authorization if (found := parse_authorization(value)) is not None]
    if not signatures:
        raise Unauthorized("the request is not signed: it has no X-Matrix header")
    if len({signature.origin for signature in signatures}) > 1:
        raise Unauthorized("a request is signed by one server")
    if signatures[0].origin == server_name:
        raise Unauthorized("this server makes no requests to itself")
    if any(signature.destination not in (None, server_name) for signature in signatures):
        raise Unauthorized(f"the request is for another server than {server_name}")
    return signatures


def _parameters(text: str, position: int) -> dict[str, str]:
    """Read the comma-separated parameters; raise Unauthorized."""
    parameters: dict[str, str] = {}
    while True:
        found = _PARAMETER.match(text, position)
        if found is None:
            raise Unauthorized("the X-Matrix header is not a list of name=value")
        name = found["name"].lower()
        # Two different answers to one question: whoever reads the other one would be told something else.
        if name in parameters:
            raise Unauthorized(f"the X-Matrix header gives {name} twice")
        parameters[name] = found["bare"] if found["quoted"] is None else _ESCAPED.sub(r"\1", found["quoted"])
        position = found.end()
        if position == len(text):
            return parameters
        comma = _COMMA.match(text, position)
        if comma is None:
            raise Unauthorized("the X-Matrix header is not a list of name=value")
        position = comma.end()
