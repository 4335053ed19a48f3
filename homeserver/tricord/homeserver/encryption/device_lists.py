"""Whose devices a user has to look at again, and whose no more.

https://spec.matrix.org/v1.19/client-server-api/#tracking-the-device-list-for-a-user
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from tricord.homeserver.rooms.stored_event import StoredEvent
from tricord.homeserver.storage import device_lists as storage
from tricord.homeserver.storage.database import Database
from tricord.protocol.identifiers import EventId, UserId


class EventsById(Protocol):
    """Knows events."""

    async def event(self, event_id: EventId) -> StoredEvent | None: ...


@dataclass(frozen=True, slots=True)
class ListNews:
    """Users whose devices have changed, or are to be followed from now on; and those who need not be any more."""

    changed: tuple[UserId, ...] = ()
    left: tuple[UserId, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.changed or self.left)


NO_NEWS = ListNews()


class DeviceLists:
    """Says what changed in the lists of devices that a user follows: those of all they are in a room with."""

    def __init__(self, database: Database, timeline: EventsById) -> None:
        self._database = database
        self._timeline = timeline

    async def news(self, user_id: UserId, after: int, upto: int, *, members_too: bool = True) -> ListNews:
        """Return what changed after one position, up to another.

        Without `members_too` for when nobody came to or left a room that the user is in, nor did they.
        """
        read = self._database.read
        changed = set(await read(storage.changed_lists, user_id, after, upto))
        left: list[UserId] = []
        if members_too:
            changed.update(await read(storage.newly_shared_with, user_id, after, upto))
            gone = await read(storage.departures, user_id, after, upto)
            # Whoever has only declined an invitation has nobody to forget, and is not to learn who is in the room.
            from_inside = [one for one in gone if await self._was_in(one.event_id, after)]
            left = await read(storage.no_longer_shared_with, user_id, from_inside, after, upto)
        return ListNews(tuple(sorted(changed)), tuple(left))

    async def _was_in(self, event_id: EventId, after: int) -> bool:
        """Return whether a user who has left was in the room after a position."""
        next_id: EventId | None = event_id
        while next_id is not None and (stored := await self._timeline.event(next_id)) is not None:
            if stored.event.content.get("membership") == "join":
                return True
            if stored.position is None or stored.position <= after:
                return False
            next_id = stored.replaces
        return False
