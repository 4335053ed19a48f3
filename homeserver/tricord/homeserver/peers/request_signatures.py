"""Who signed a request: what the dispatcher asks for endpoints that are for servers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tricord.federation.health import PeerHealth
from tricord.federation.keys import KeyRing
from tricord.federation.request_auth import check_request, parse_authorizations
from tricord.homeserver.clock import Clock
from tricord.protocol.errors import Unauthorized
from tricord.protocol.identifiers import ServerName


class RequestSignatures:
    """Checks the signatures of requests."""

    def __init__(self, server_name: ServerName, keys: KeyRing, health: PeerHealth, clock: Clock) -> None:
        self._server_name = server_name
        self._keys = keys
        self._health = health
        self._clock = clock

    async def origin_of(self, method: str, uri: str, authorization: Sequence[str], body: Any) -> ServerName:
        """Return which server signed a request; raise Unauthorized if none did as it should."""
        claim = parse_authorizations(authorization)
        if claim.origin == self._server_name:
            raise Unauthorized("this server makes no requests to itself")
        if claim.destination is not None and claim.destination != self._server_name:
            # Before the key is looked for, so that nobody can make us ask around for others.
            raise Unauthorized(f"the request is for {claim.destination}, and this is {self._server_name}")
        now = self._clock.now_ms()
        name = (claim.origin, claim.key_id)
        key = (await self._keys.keys([name], valid_at_ts=now)).get(name)
        if key is None:
            raise Unauthorized(f"the key {claim.key_id} of {claim.origin} is not to be had")
        if key.valid_until_ts < now:
            raise Unauthorized(f"the key {claim.key_id} of {claim.origin} has expired")
        check_request(claim, self._server_name, key.public_key, method, uri, body)
        self._health.note_alive(claim.origin)
        return claim.origin
