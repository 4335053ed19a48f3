"""Somebody who follows what happens: over `/sync`, and what they make of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import orjson
import trio

from tests.homeserver.client_api.people import Person
from tricord.homeserver.stream.tokens import decode_left_out, decode_messages_upto
from tricord.homeserver.sync.engine import SyncEngine
from tricord.homeserver.sync.filters import SyncFilters
from tricord.homeserver.sync.http import encode_sync
from tricord.homeserver.sync.viewer import Viewer


@dataclass
class Follower(Person):
    """A person who syncs."""

    engine: SyncEngine = field(kw_only=True)
    filters: SyncFilters = field(kw_only=True)
    since: str | None = field(default=None, kw_only=True)

    async def viewer(self, **wanted: Any) -> Viewer:
        """Return them as whoever syncs; `wanted` is the filter."""
        wants = await self.filters.of(self.user_id, wanted)
        return Viewer(self.user_id, self.requester.device_id, self.requester.session_id, wants)

    async def sync(
        self,
        *,
        since: str | None = None,
        wait: float = 0,
        full_state: bool = False,
        use_state_after: bool = False,
        **wanted: Any,
    ) -> Any:
        """Sync from a position, or from the beginning; `wanted` is the filter."""
        viewer = replace(
            await self.viewer(**wanted),
            use_state_after=use_state_after,
            full_state=full_state,
            messages_upto=decode_messages_upto(since or ""),
            left_out=decode_left_out(since or ""),
        )
        delta = await self.engine.next_delta(
            viewer,
            await self.engine.checked_position(since),
            at_once=full_state or not wait,
            deadline=trio.current_time() + wait,
        )
        answer = orjson.loads(encode_sync(delta))
        self.since = answer["next_batch"]
        return answer

    async def news(self, *, wait: float = 0, **options: Any) -> Any:
        """Sync from where the last sync ended."""
        return await self.sync(since=self.since, wait=wait, **options)


def joined(answer: Any, room: str) -> Any:
    return answer["rooms"]["join"][room]


def texts(room: Any) -> list[str]:
    """Return what was said in the timeline."""
    return [event["content"].get("body") for event in room["timeline"]["events"] if event["type"] == "m.room.message"]


def keys(room: Any, section: str = "state") -> set[tuple[str, str]]:
    """Return which state a section sets."""
    return {(event["type"], event["state_key"]) for event in room[section]["events"]}
