"""Numbers for new events, drawn from the database in blocks."""

from __future__ import annotations

from collections.abc import Iterator

from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.events import reserve_event_nids


class EventNumbers:
    """Hands out numbers that no other event has, in any process; those that are not used are missed by nobody."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._free: list[int] = []

    async def take(self, count: int) -> Iterator[int]:
        """Return that many numbers."""
        while len(self._free) < count:
            self._free += await self._database.read(reserve_event_nids)
        taken = self._free[:count]
        del self._free[:count]
        return iter(taken)
