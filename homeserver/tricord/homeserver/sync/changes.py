"""Which rooms and users have changed lately: what makes a sync cost what changed, not what the user is in.

An index in memory over the commits that this process has published. It reaches back to where the process started, or to
the oldest commit it still keeps; for positions before that the tables have to be asked.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection

from tricord.homeserver.stream.publisher import Commit
from tricord.protocol.identifiers import RoomId, UserId

_MOST_COMMITS = 20_000


class RecentChanges:
    """What `Publisher` has published, to be asked by position."""

    def __init__(self, position: int, *, most_commits: int = _MOST_COMMITS) -> None:
        # All that changed after this position is known here.
        self.known_after = position
        self._most = most_commits
        self._positions: list[int] = []
        self._commits: list[Commit] = []
        self._room_changed: dict[RoomId, int] = {}
        self._user_changed: dict[UserId, int] = {}

    def note(self, commit: Commit) -> None:
        """Take in a commit; they come in the order of their positions, or nearly so."""
        place = len(self._positions)
        while place and self._positions[place - 1] > commit.position:
            place -= 1
        self._positions.insert(place, commit.position)
        self._commits.insert(place, commit)
        for room_id in commit.rooms:
            self._room_changed[room_id] = max(commit.position, self._room_changed.get(room_id, 0))
        for user_id in commit.users:
            self._user_changed[user_id] = max(commit.position, self._user_changed.get(user_id, 0))
        if len(self._commits) > self._most:
            self._forget_half()

    def rooms_changed(self, among: Collection[RoomId], after: int, upto: int) -> list[RoomId] | None:
        """Return which of some rooms changed after a position, up to another; None if that is too long ago.

        `among` should be quick to look into. Whichever is less is walked: the commits, or the rooms.
        """
        if after < self.known_after:
            return None
        first, last = bisect_right(self._positions, after), bisect_right(self._positions, upto)
        if last - first <= len(among):
            changed: dict[RoomId, None] = {}
            for commit in self._commits[first:last]:
                for room_id in commit.rooms:
                    if room_id in among:
                        changed[room_id] = None
            return list(changed)
        # A room that changed after `upto` as well is given too: looking at it finds nothing new, or something.
        return [room_id for room_id in among if self._room_changed.get(room_id, 0) > after]

    def room_changed(self, room_id: RoomId, after: int) -> bool:
        """Return whether a room has, or may have, changed after a position."""
        return after < self.known_after or self._room_changed.get(room_id, 0) > after

    def user_changed(self, user_id: UserId, after: int) -> bool:
        """Return whether a user's own things have, or may have, changed after a position."""
        return after < self.known_after or self._user_changed.get(user_id, 0) > after

    def _forget_half(self) -> None:
        keep = len(self._commits) // 2
        self.known_after = self._positions[-keep - 1]
        del self._positions[:-keep], self._commits[:-keep]
        for index in (self._room_changed, self._user_changed):
            for key in [key for key, position in index.items() if position <= self.known_after]:
                del index[key]
