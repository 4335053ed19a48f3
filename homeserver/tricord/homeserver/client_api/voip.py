"""Routes of voice over IP."""

from __future__ import annotations

import base64
import hmac
from typing import Any

from tricord.clients.api.voip import GetTurnServer
from tricord.homeserver.clock import Clock
from tricord.homeserver.serving.call import Call, Route
from tricord.homeserver.settings import TurnSettings
from tricord.protocol.errors import GuestAccessForbidden
from tricord.protocol.strict_json import JsonObject


class VoipApi:
    """Lets clients use the operator's TURN servers."""

    def __init__(self, settings: TurnSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [Route(GetTurnServer, self.turn_server)]

    async def turn_server(self, call: Call[Any, Any]) -> JsonObject:
        """Give credentials that the TURN servers know by the secret they share with us; {} where there are none.

        https://datatracker.ietf.org/doc/html/draft-uberti-behave-turn-rest-00#section-2.2
        """
        settings, user_id = self._settings, call.requester.user_id
        secret = settings.shared_secret.get_secret_value()
        if not settings.uris or not secret:
            return {}
        if call.requester.is_guest and not settings.guests:
            raise GuestAccessForbidden("the relays for calls are not for guests")
        username = f"{self._clock.now_ms() // 1000 + settings.lifetime}:{user_id}"
        password = base64.b64encode(hmac.digest(secret.encode(), username.encode(), "sha1")).decode()
        return {"username": username, "password": password, "uris": list(settings.uris), "ttl": settings.lifetime}
