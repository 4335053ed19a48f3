"""How long the messages of a room are kept: what the room says, within the bounds of the operator.

State is never over: without it there would be no telling what the room is, nor who may speak there.
https://github.com/matrix-org/matrix-spec-proposals/blob/main/proposals/1763-configurable-retention-periods.md
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tricord.homeserver.clock import Clock
from tricord.homeserver.rooms.retention_settings import RetentionSettings
from tricord.homeserver.rooms.state import RoomState
from tricord.homeserver.rooms.stored_event import StateKey, StoredEvent
from tricord.protocol.identifiers import RoomId

RETENTION_TYPE = "m.room.retention"
_HOUR_MS = 3_600_000
_KEY: StateKey = (RETENTION_TYPE, "")


def lifetime_ms(content: Mapping[str, Any] | None, settings: RetentionSettings) -> int | None:
    """Return how long messages are kept in a room that says this; None: for ever.

    What makes no sense (no whole number, a longest time below the shortest) is as if the room had said nothing.
    """
    lifetime = _said(content)
    if lifetime is None and settings.default_hours:
        lifetime = settings.default_hours * _HOUR_MS
    if settings.longest_hours:
        longest = settings.longest_hours * _HOUR_MS
        lifetime = longest if lifetime is None else min(lifetime, longest)
    return None if lifetime is None else max(lifetime, settings.shortest_hours * _HOUR_MS)


def _said(content: Mapping[str, Any] | None) -> int | None:
    longest, shortest = (None if content is None else content.get(key) for key in ("max_lifetime", "min_lifetime"))
    # To Python, True is a number.
    if type(longest) is not int or longest < 0:
        return None
    if shortest is not None and (type(shortest) is not int or not 0 <= shortest <= longest):
        return None
    return longest


class Retention:
    """Knows which messages are over.

    SQL: none for what is younger than the operator lets anything be over; else the state of the room, from memory.
    """

    def __init__(self, state: RoomState, clock: Clock, settings: RetentionSettings) -> None:
        self._state = state
        self._clock = clock
        self._settings = settings

    async def over(self, events: Sequence[StoredEvent]) -> Collection[StoredEvent]:
        """Return those of the events whose time is over."""
        if not self._settings.enabled:
            return ()
        youngest = self._clock.now_ms() - self._settings.shortest_hours * _HOUR_MS
        old = [one for one in events if not one.event.is_state and one.event.origin_server_ts <= youngest]
        if not old:
            return ()
        horizons = await self.horizons({one.event.room_id for one in old})
        return {one for one in old if one.event.origin_server_ts <= horizons.get(one.event.room_id, -1)}

    async def still_told(self, events: Sequence[StoredEvent]) -> list[StoredEvent]:
        """Return those of the events that are not over, in their order."""
        over = await self.over(events)
        return [one for one in events if one not in over] if over else list(events)

    async def horizons(self, room_ids: Collection[RoomId]) -> dict[RoomId, int]:
        """Return up to which time messages are over, of those rooms where they ever are."""
        if not self._settings.enabled:
            return {}
        now = self._clock.now_ms()
        states = await self._state.current_in_rooms(dict.fromkeys(room_ids, (_KEY,)))
        horizons = {}
        for room_id in room_ids:
            said = states.get(room_id, {}).get(_KEY)
            lifetime = lifetime_ms(None if said is None else said.event.content, self._settings)
            if lifetime is not None:
                horizons[room_id] = now - lifetime
        return horizons
