"""Reading the state of rooms: as it is now, and as it was at an event."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from tricord.homeserver.rooms.stored_event import StateKey, StoredEvent
from tricord.protocol.identifiers import RoomId


class RoomState:
    """What is set in a room."""

    async def current(self, room_id: RoomId, keys: Collection[StateKey]) -> dict[StateKey, StoredEvent]:
        """Return those of the keys that are set now; {} for a room that is not here."""
        raise NotImplementedError

    async def current_all(self, room_id: RoomId) -> dict[StateKey, StoredEvent]:
        """Return the whole state as it is now."""
        raise NotImplementedError

    async def current_of_types(self, room_id: RoomId, types: Collection[str]) -> dict[StateKey, StoredEvent]:
        """Return the state of some types as it is now."""
        raise NotImplementedError

    async def current_in_rooms(
        self, wanted: Mapping[RoomId, Collection[StateKey]]
    ) -> dict[RoomId, dict[StateKey, StoredEvent]]:
        """Return some of the current state of many rooms at once."""
        raise NotImplementedError

    async def at(self, event: StoredEvent, keys: Collection[StateKey]) -> dict[StateKey, StoredEvent]:
        """Return those of the keys that are set after an event."""
        raise NotImplementedError

    async def at_many(
        self, events: Collection[StoredEvent], keys: Collection[StateKey]
    ) -> dict[StoredEvent, dict[StateKey, StoredEvent]]:
        """Return those of the keys that are set after each of some events."""
        raise NotImplementedError

    async def all_at(self, event: StoredEvent) -> dict[StateKey, StoredEvent]:
        """Return the whole state after an event."""
        raise NotImplementedError

    async def changes(self, before: StoredEvent | None, after: StoredEvent) -> dict[StateKey, StoredEvent]:
        """Return what is set after `after` and was not, or otherwise, after `before` (None: before the room began)."""
        raise NotImplementedError
