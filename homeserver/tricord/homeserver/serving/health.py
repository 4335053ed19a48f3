"""Two questions an operator's monitoring asks: does the process answer, and can it do its work."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import trio

from tricord.clients.endpoint import Authentication, Endpoint
from tricord.homeserver.serving.call import Answer, Call, Route
from tricord.homeserver.storage.errors import DatabaseError
from tricord.protocol.strict_json import JsonObject

_PATIENCE_SECONDS = 2


class Health(Endpoint):
    """Whether the process answers at all; never asks the database."""

    method = "GET"
    path = "/health"
    authentication = Authentication.NONE
    body_kind = "none"
    # Monitoring is answered with the least machinery.
    hot = True


class Ready(Endpoint):
    """Whether the server can do its work: its database answers."""

    method = "GET"
    path = "/ready"
    authentication = Authentication.NONE
    body_kind = "none"
    # Monitoring is answered with the least machinery.
    hot = True


class HealthApi:
    """`/health` and `/ready`."""

    def __init__(
        self, check_database: Callable[[], Awaitable[object]], *, patience_seconds: float = _PATIENCE_SECONDS
    ) -> None:
        self._check_database = check_database
        self._patience_seconds = patience_seconds

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [Route(Health, self.health), Route(Ready, self.ready)]

    async def health(self, _call: Call[Any, Any]) -> JsonObject:
        """Say that we are alive."""
        return {"status": "alive"}

    async def ready(self, _call: Call[Any, Any]) -> Answer:
        """Ask the database; 503 when it does not answer soon."""
        reason = f"the database did not answer within {self._patience_seconds} s"
        with trio.move_on_after(self._patience_seconds):
            try:
                await self._check_database()
            except DatabaseError as error:
                reason = f"the database cannot be used: {error}"
            else:
                return Answer({"status": "ready"})
        return Answer({"status": "not ready", "reason": reason}, status=503)
