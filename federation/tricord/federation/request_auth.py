"""Requests signed by the server that makes them: the `X-Matrix` scheme of the Authorization header.

https://spec.matrix.org/v1.19/server-server-api/#request-authentication
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tricord.protocol.errors import MatrixError, SignatureInvalid, Unauthorized
from tricord.protocol.identifiers import KeyId, ServerName, parse_server_name
from tricord.protocol.signing import ALGORITHM, SigningKey, sign_json, verify_json
from tricord.protocol.strict_json import JsonObject

_SCHEME = "x-matrix "
_PARAMETER = re.compile(r'[ \t]*([A-Za-z0-9_-]{1,32})[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^",\s]*))[ \t]*(?:,|$)')
_MOST_CHARACTERS = 2_000


@dataclass(frozen=True, slots=True)
class RequestSignature:
    """What an Authorization header claims."""

    origin: ServerName
    destination: ServerName | None
    key_id: KeyId
    signature: str


def authorization_header(
    origin: ServerName, destination: ServerName, key: SigningKey, method: str, uri: str, content: Any | None
) -> str:
    """Return the Authorization header for a request; `content` is the JSON of its body, None without one."""
    signed = sign_json(_signed(origin, destination, method, uri, content), origin, key)
    signature = signed["signatures"][origin][key.key_id]
    return f'X-Matrix origin="{origin}",destination="{destination}",key="{key.key_id}",sig="{signature}"'


def parse_authorization(value: str) -> RequestSignature:
    """Read an Authorization header; raise Unauthorized if it is none of this scheme."""
    if not value[: len(_SCHEME)].lower() == _SCHEME or len(value) > _MOST_CHARACTERS:
        raise Unauthorized("the Authorization header is not of the scheme X-Matrix")
    parameters: dict[str, str] = {}
    place = len(_SCHEME)
    while place < len(value):
        found = _PARAMETER.match(value, place)
        if found is None:
            raise Unauthorized("the Authorization header cannot be read")
        name, quoted, token = found.groups()
        if name.lower() in parameters:
            raise Unauthorized(f"the Authorization header gives `{name}` twice")
        parameters[name.lower()] = token if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
        place = found.end()
    try:
        origin = parse_server_name(parameters["origin"])
        destination = parameters.get("destination")
        named = None if destination is None else parse_server_name(destination)
        return RequestSignature(origin, named, KeyId(parameters["key"]), parameters["sig"])
    except KeyError as missing:
        raise Unauthorized(f"the Authorization header lacks {missing}") from None
    except MatrixError as error:
        raise Unauthorized(f"the Authorization header is wrong: {error.message}") from None


def parse_authorizations(values: Sequence[str]) -> RequestSignature:
    """Read the one Authorization header of a request, or the first of several by one origin."""
    if not values:
        raise Unauthorized("the request is not signed: there is no Authorization header")
    signatures = [parse_authorization(value) for value in values[:10]]
    if any(signature.origin != signatures[0].origin for signature in signatures):
        raise Unauthorized("the request claims to come from several servers")
    known = [one for one in signatures if one.key_id.startswith(f"{ALGORITHM}:")]
    return known[0] if known else signatures[0]


def check_request(
    claim: RequestSignature, here: ServerName, public_key: bytes, method: str, uri: str, content: Any | None
) -> None:
    """Check that a request was signed with a key, for us; raise Unauthorized if not."""
    if claim.destination is not None and claim.destination != here:
        raise Unauthorized(f"the request is for {claim.destination}, and this is {here}")
    signed = _signed(claim.origin, claim.destination, method, uri, content)
    signed["signatures"] = {claim.origin: {claim.key_id: claim.signature}}
    try:
        verify_json(signed, claim.origin, claim.key_id, public_key)
    except SignatureInvalid as error:
        raise Unauthorized(f"{claim.origin} has not signed this request with {claim.key_id}: {error}") from error


def _signed(
    origin: ServerName, destination: ServerName | None, method: str, uri: str, content: Any | None
) -> JsonObject:
    signed: JsonObject = {"method": method, "uri": uri, "origin": origin}
    if destination is not None:
        signed["destination"] = destination
    if content is not None:
        signed["content"] = content
    return signed
