"""What the connections of a listener share."""

from __future__ import annotations

from collections.abc import Mapping

import trio

from tricord.homeserver.serving.application import Application
from tricord.homeserver.serving.call import WebSocketRoute
from tricord.homeserver.serving.disconnects import Disconnects
from tricord.homeserver.serving.limits import Limits


class Context:
    """The parts that all connections of a listener share.

    `idle` holds the scopes of connections that only wait, for a next request or as WebSockets, and until when they may.
    They end when the server stops.
    """

    def __init__(
        self, application: Application, websockets: Mapping[bytes, WebSocketRoute], limits: Limits | None = None
    ) -> None:
        self.application = application
        self.websockets = websockets
        self.limits = limits or Limits()
        self.idle: dict[trio.CancelScope, float] = {}
        self.disconnects = Disconnects()

    def drain(self) -> None:
        """Let go of everybody who only waits; what is under way ends with its answer."""
        self.application.drain()
        for scope in self.idle:
            scope.cancel()

    async def run(self) -> None:
        """Mind connections that wait, for ever."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.disconnects.run)
            nursery.start_soon(self._end_idle)

    async def _end_idle(self) -> None:
        """End connections that were idle for too long; a scope with a deadline for each request would cost more."""
        while True:
            await trio.sleep(min(1, self.limits.idle_seconds / 2, self.limits.head_seconds / 2))
            now = trio.current_time()
            for scope, until in self.idle.items():
                if until < now:
                    scope.cancel()
