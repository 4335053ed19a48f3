"""Whom users ignore, remembered for those who sync."""

from __future__ import annotations

from tricord.homeserver.rooms.preferences import Preferences
from tricord.homeserver.stream.publisher import Publisher
from tricord.homeserver.stream.recent_changes import RecentChanges
from tricord.protocol.identifiers import UserId

_MOST_IGNORING = 50_000


class IgnoredUsers:
    """Knows whom somebody ignores; asks again when anything of theirs has changed."""

    def __init__(self, preferences: Preferences, publisher: Publisher, changes: RecentChanges) -> None:
        self._preferences = preferences
        self._publisher = publisher
        self._changes = changes
        # And at which position they did.
        self._ignored: dict[UserId, tuple[int, frozenset[UserId]]] = {}

    async def of(self, user_id: UserId) -> frozenset[UserId]:
        """Return whom a user ignores."""
        known = self._ignored.get(user_id)
        if known is not None and not self._changes.user_changed(user_id, known[0]):
            return known[1]
        position = self._publisher.position
        ignored = await self._preferences.ignored_by(user_id)
        self._ignored[user_id] = (position, ignored)
        if len(self._ignored) > _MOST_IGNORING:
            del self._ignored[next(iter(self._ignored))]
        return ignored
