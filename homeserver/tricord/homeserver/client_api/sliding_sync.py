"""Route of simplified sliding sync: wait until something is new in the rooms that a client looks at."""

from __future__ import annotations

import trio

from tricord.clients.api.sliding_sync import SlidingSync
from tricord.homeserver.accounts.presence import Presences
from tricord.homeserver.serving.call import Answer, Call, Route
from tricord.homeserver.sync.filters import EVERYTHING
from tricord.homeserver.sync.sliding.engine import SlidingEngine
from tricord.homeserver.sync.viewer import Viewer

_LONGEST_WAIT_MS = 5 * 60_000


class SlidingSyncApi:
    """What is new for a user, room by room as they are looked at."""

    def __init__(self, engine: SlidingEngine, presences: Presences) -> None:
        self._engine = engine
        self._presences = presences

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [Route(SlidingSync, self.sync)]

    async def sync(self, call: Call[SlidingSync.Body, SlidingSync.Query]) -> Answer:
        """Wait until something is new."""
        query, body, requester = call.query, call.body, call.requester
        viewer = Viewer(requester.user_id, requester.device_id, requester.session_id, EVERYTHING)
        timeout = query.timeout if query.timeout is not None else body.timeout or 0
        deadline = trio.current_time() + min(timeout, _LONGEST_WAIT_MS) / 1000
        with self._presences.syncing(requester.user_id, query.set_presence or body.set_presence or "online"):
            return Answer(
                await self._engine.answer(viewer, body, query.pos or body.pos, wait=timeout > 0, deadline=deadline)
            )
