"""Route of the servers that carry calls."""

from __future__ import annotations

from typing import Any

from tricord.clients.api.rtc import GetRtcTransports
from tricord.homeserver.serving.call import Call, Route
from tricord.homeserver.settings import RtcSettings
from tricord.protocol.strict_json import JsonObject


def rtc_transports(settings: RtcSettings) -> list[JsonObject]:
    """Return the servers of the settings as clients know them."""
    return [{"type": "livekit", "livekit_service_url": url} for url in settings.livekit_service_urls]


class RtcApi:
    """Where calls go."""

    def __init__(self, settings: RtcSettings) -> None:
        self._transports = rtc_transports(settings)

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [Route(GetRtcTransports, self.transports)]

    async def transports(self, call: Call[Any, Any]) -> JsonObject:  # noqa: ARG002
        """Answer which servers carry calls."""
        return {"rtc_transports": self._transports}
