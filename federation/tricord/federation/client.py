"""Signed requests to other servers, by the descriptions of their endpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import trio

from tricord.clients.endpoint import Authentication, Endpoint
from tricord.federation.errors import PeerAnswerInvalid, PeerRefused, PeerUnreachable
from tricord.federation.health import PeerHealth
from tricord.federation.request_auth import authorization_header
from tricord.federation.transport import Transport
from tricord.protocol.canonical_json import canonical_json
from tricord.protocol.errors import MatrixError
from tricord.protocol.identifiers import ServerName
from tricord.protocol.signing import SigningKey
from tricord.protocol.strict_json import JsonObject, parse_object

_USUAL_BYTES = 4 << 20


class FederationClient:
    """Asks other servers in the name of this one."""

    def __init__(
        self, transport: Transport, server_name: ServerName, key: SigningKey, health: PeerHealth | None = None
    ) -> None:
        self.server_name = server_name
        self.health = health or PeerHealth()
        self._transport = transport
        self._key = key

    async def call(
        self,
        destination: ServerName,
        endpoint: type[Endpoint],
        path: Mapping[str, str] | None = None,
        *,
        query: Mapping[str, Any] | None = None,
        body: JsonObject | None = None,
        timeout_seconds: float = 30,
        max_bytes: int = _USUAL_BYTES,
        urgent: bool = True,
    ) -> JsonObject:
        """Call an endpoint of another server and return the JSON object of its answer.

        What is not `urgent` fails at once while the server is known to be away. Raises PeerUnreachable, PeerRefused or
        PeerAnswerInvalid.
        """
        if destination == self.server_name:
            raise ValueError("a server does not ask itself")
        pause = 0.0 if urgent else self.health.pause_seconds(destination)
        if pause:
            raise PeerUnreachable(destination, f"it did not answer before and is left alone for {pause:.0f} s")
        uri = endpoint.url(**(path or {}))
        if given := {name: value for name, value in (query or {}).items() if value is not None}:
            uri += "?" + urlencode(given, doseq=True)
        content = None
        headers = {"Accept": "application/json"}
        if endpoint.method in ("PUT", "POST"):
            body = body or {}
            content = canonical_json(body)
            headers["Content-Type"] = "application/json"
        else:
            body = None
        if endpoint.authentication is Authentication.SIGNED_REQUEST:
            headers["Authorization"] = authorization_header(
                self.server_name, destination, self._key, endpoint.method, uri, body
            )
        response = None
        with trio.move_on_after(timeout_seconds):
            try:
                response = await self._transport.send(
                    destination,
                    endpoint.method,
                    uri,
                    headers,
                    content,
                    timeout_seconds=timeout_seconds,
                    max_bytes=max_bytes,
                )
            except PeerUnreachable:
                self.health.note_failure(destination)
                raise
        if response is None:
            self.health.note_failure(destination)
            raise PeerUnreachable(destination, f"no answer within {timeout_seconds:.0f} s")
        if response.status in (502, 503, 504):
            # Its reverse proxy is there, and it is not.
            self.health.note_failure(destination)
            raise PeerUnreachable(destination, f"answered with status {response.status}")
        self.health.note_alive(destination)
        answer = _object(destination, response.status, response.body)
        if response.status != 200:
            raise PeerRefused(destination, response.status, answer)
        return answer


def _object(destination: ServerName, status: int, body: bytes) -> JsonObject:
    try:
        # A few servers answer some endpoints with `[status, object]`, as an old text had it.
        return parse_object(body)
    except MatrixError as error:
        if status != 200:
            return {}
        raise PeerAnswerInvalid(destination, f"its answer is not a JSON object: {error.message}") from error
