"""Route of `/sync`: wait until something is new, and return it."""

from __future__ import annotations

from typing import Any

import trio

from tricord.clients.api.previews import InitialSync
from tricord.clients.api.sync import Sync
from tricord.homeserver.accounts.presence import Presences
from tricord.homeserver.serving.call import Answer, Call, Route
from tricord.homeserver.stream.tokens import decode_left_out, decode_messages_upto
from tricord.homeserver.sync.engine import SyncEngine
from tricord.homeserver.sync.filters import SyncFilters
from tricord.homeserver.sync.http import encode_sync
from tricord.homeserver.sync.initial import InitialSyncs
from tricord.homeserver.sync.viewer import Viewer

_LONGEST_WAIT_MS = 5 * 60_000


class SyncApi:
    """What is new for a user."""

    def __init__(
        self, engine: SyncEngine, filters: SyncFilters, presences: Presences, initial_syncs: InitialSyncs
    ) -> None:
        self._initial_syncs = initial_syncs
        self._engine = engine
        self._filters = filters
        self._presences = presences

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [Route(Sync, self.sync), Route(InitialSync, self.initial_sync)]

    async def sync(self, call: Call[Any, Sync.Query]) -> Answer:
        """Wait until something is new."""
        query, requester = call.query, call.requester
        since = await self._engine.checked_position(query.since or None)
        viewer = Viewer(
            requester.user_id,
            requester.device_id,
            requester.session_id,
            await self._filters.of(requester.user_id, query.filter),
            use_state_after=query.use_state_after,
            full_state=query.full_state,
            messages_upto=decode_messages_upto(query.since or ""),
            left_out=decode_left_out(query.since or ""),
        )
        if since is not None:
            await self._engine.note_received(viewer, since)
        deadline = trio.current_time() + min(query.timeout, _LONGEST_WAIT_MS) / 1000
        with self._presences.syncing(requester.user_id, query.set_presence):
            delta = await self._engine.next_delta(
                viewer, since, at_once=query.full_state or not query.timeout, deadline=deadline
            )
        return Answer(encode_sync(delta))

    async def initial_sync(self, call: Call[Any, InitialSync.Query]) -> Answer:
        """Show all rooms at once, as clients of old ask for it."""
        return Answer(await self._initial_syncs.body(call.requester, call.query.limit, archived=call.query.archived))
