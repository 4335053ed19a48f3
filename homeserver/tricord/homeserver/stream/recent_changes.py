"""Which rooms and users have changed lately: what makes a sync cost what changed, not what the user is in.

An index in memory over the commits that this process has heard of. It reaches back to where the process
started, or to the last gap in what it heard, or to the oldest commit it still keeps; for positions before
that it says "may have changed".
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection
from typing import NamedTuple

from tricord.homeserver.stream.publisher import Commit, Publisher
from tricord.protocol.identifiers import RoomId, UserId

_MOST_COMMITS = 20_000
# What they name, of rooms and users.
_MOST_NAMES = 100_000
_MOST_LOOKED_AT = 1_000
_NEVER = (0, 0, 0)


class _Part(NamedTuple):
    """What is to be known of a commit, in a quarter of the memory."""

    position: int
    rooms: tuple[RoomId, ...]
    users: tuple[UserId, ...] = ()


class RecentChanges:
    """What `Publisher` has published, to be asked by position."""

    def __init__(self, publisher: Publisher, *, most_commits: int = _MOST_COMMITS) -> None:
        # All that changed after this position is known here.
        self._known_after = publisher.position
        self._most = most_commits
        self._names = 0
        # Of each commit: its position, the rooms, and how many names it has. Commits themselves take ten times as much.
        self._positions: list[int] = []
        self._rooms_of: list[tuple[RoomId, ...]] = []
        self._names_of: list[int] = []
        # Of each room: its last change but one, and where the commit with its last one begins and ends.
        self._rooms: dict[RoomId, tuple[int, int, int]] = {}
        self._users: dict[UserId, int] = {}
        self._passing: dict[RoomId, int] = {}
        # Where who came or left, and where somebody's presence changed.
        self._movements: list[_Part] = []
        self._presences: list[_Part] = []
        publisher.observe(self._note, self._lose_track)

    def rooms_changed(self, among: Collection[RoomId], after: int, upto: int) -> list[RoomId] | None:
        """Return which of some rooms changed after a position, up to another; None if that is too long ago.

        `among` should be quick to look into. Whichever is less is walked: the commits, or the rooms. A room may be
        given that has changed after `upto` only: whoever looks finds nothing new in it.
        """
        if after < self._known_after:
            return None
        first, last = bisect_right(self._positions, after), bisect_right(self._positions, upto)
        if last - first > len(among):
            return [room_id for room_id in among if self._rooms.get(room_id, _NEVER)[2] > after]
        if last - first == 1:
            return [room_id for room_id in self._rooms_of[first] if room_id in among]
        changed: dict[RoomId, None] = {}
        for rooms in self._rooms_of[first:last]:
            for room_id in rooms:
                if room_id in among:
                    changed[room_id] = None
        return list(changed)

    def last_change(self, room_id: RoomId, after: int, upto: int) -> tuple[int, int]:
        """Return a window with the same changes of the room in it as the given one has, and the same for many.

        Readers who come from different positions, none of which is one of the room's, get the same answer.
        """
        before, start, last = self._rooms.get(room_id, _NEVER)
        is_only_one = self._known_after <= before <= after <= start and last <= upto
        return (before, last) if is_only_one else (after, upto)

    def unchanged_since(self, room_id: RoomId, upto: int) -> int:
        """Return a position at which the room was what it is at a given one, and the same for as many as possible."""
        last = self._rooms.get(room_id, _NEVER)[2] or self._known_after
        return min(last, upto)

    def room_changed(self, room_id: RoomId, after: int) -> bool:
        """Return whether a room has, or may have, changed after a position."""
        return after < self._known_after or self._rooms.get(room_id, _NEVER)[2] > after

    def user_changed(self, user_id: UserId, after: int) -> bool:
        """Return whether a user's own things have, or may have, changed after a position."""
        return after < self._known_after or self._users.get(user_id, 0) > after

    def members_changed(self, user_id: UserId, rooms: Collection[RoomId], after: int, upto: int) -> bool:
        """Return whether somebody has, or may have, come to or left one of some rooms, or the user any room."""
        if after < self._known_after:
            return True
        first = bisect_right(self._movements, after, key=_position)
        last = bisect_right(self._movements, upto, key=_position)
        return last - first > _MOST_LOOKED_AT or any(
            user_id in part.users or any(room_id in rooms for room_id in part.rooms)
            for part in self._movements[first:last]
        )

    def presence_changed(self, rooms: Collection[RoomId], after: int, upto: int) -> bool:
        """Return whether the presence of somebody in one of some rooms has, or may have, changed."""
        if after < self._known_after:
            return True
        first = bisect_right(self._presences, after, key=_position)
        last = bisect_right(self._presences, upto, key=_position)
        return last - first > _MOST_LOOKED_AT or any(
            room_id in rooms for part in self._presences[first:last] for room_id in part.rooms
        )

    def passing_changed(self, room_id: RoomId, after: int) -> bool:
        """Return whether a room's receipts or typing have, or may have, changed after a position."""
        return after < self._known_after or self._passing.get(room_id, 0) > after

    def _note(self, commit: Commit) -> None:
        place = len(self._positions)
        while place and self._positions[place - 1] > commit.position:
            place -= 1
        self._positions.insert(place, commit.position)
        self._rooms_of.insert(place, tuple(commit.rooms))
        self._names_of.insert(place, _names_in(commit))
        self._names += self._names_of[place]
        if commit.has_events and commit.users:
            part = _Part(commit.position, self._rooms_of[place], tuple(commit.users))
            self._movements.insert(bisect_right(self._movements, commit.position, key=_position), part)
        if commit.presence_in:
            part = _Part(commit.position, tuple(commit.presence_in))
            self._presences.insert(bisect_right(self._presences, commit.position, key=_position), part)
        for room_id in commit.rooms:
            before, start, last = self._rooms.get(room_id, (0, 0, self._known_after))
            if commit.position > last:
                self._rooms[room_id] = (last, commit.position - commit.count, commit.position)
            elif commit.position < last:
                self._rooms[room_id] = (max(before, commit.position), start, last)
            if not commit.has_events:
                self._passing[room_id] = max(commit.position, self._passing.get(room_id, 0))
        for user_id in commit.users:
            self._users[user_id] = max(commit.position, self._users.get(user_id, 0))
        if len(self._positions) > self._most or (self._names > _MOST_NAMES and len(self._positions) > 1):
            self._forget_half()

    def _lose_track(self, position: int) -> None:
        self._known_after = max(self._known_after, position)
        self._forget_first(bisect_right(self._positions, self._known_after))

    def _forget_half(self) -> None:
        count = len(self._positions) - len(self._positions) // 2
        self._known_after = self._positions[count - 1]
        self._forget_first(count)

    def _forget_first(self, count: int) -> None:
        del self._positions[:count], self._rooms_of[:count], self._names_of[:count]
        self._names = sum(self._names_of)
        for parts in (self._movements, self._presences):
            del parts[: bisect_right(parts, self._known_after, key=_position)]
        for room_id in [room_id for room_id, (_, _, last) in self._rooms.items() if last <= self._known_after]:
            del self._rooms[room_id]
        for user_id in [user_id for user_id, position in self._users.items() if position <= self._known_after]:
            del self._users[user_id]
        for room_id in [room_id for room_id, position in self._passing.items() if position <= self._known_after]:
            del self._passing[room_id]


def _names_in(commit: Commit) -> int:
    return len(commit.rooms) + len(commit.users) + len(commit.presence_in) + len(commit.keys)


def _position(part: _Part) -> int:
    return part.position
