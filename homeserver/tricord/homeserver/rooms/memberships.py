"""Who is in which room."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from tricord.protocol.identifiers import EventId, RoomId, UserId


@dataclass(frozen=True, slots=True)
class Membership:
    """What a user is to a room, by the last member event."""

    room_id: RoomId
    user_id: UserId
    membership: str
    event_id: EventId
    sender: UserId
    position: int
    """Of the member event."""
    since: int
    """Of the member event that first said so: a new display name changes `position` only."""
    forgotten: bool


@dataclass(frozen=True, slots=True)
class MemberCounts:
    """How many are in a room, and invited."""

    joined: int
    invited: int


class Memberships:
    """Who is in which room now, from memory where that is asked often."""

    async def joined_rooms(self, user_id: UserId) -> frozenset[RoomId]:
        """Return the rooms a user is in."""
        raise NotImplementedError

    async def joined_members(self, room_id: RoomId) -> frozenset[UserId]:
        """Return the users who are in a room."""
        raise NotImplementedError

    async def membership(self, user_id: UserId, room_id: RoomId) -> Membership | None:
        """Return what a user is to a room; None if there never was a member event."""
        raise NotImplementedError

    async def rooms_of(self, user_id: UserId) -> dict[RoomId, Membership]:
        """Return all that a user is or was to rooms, and has not forgotten."""
        raise NotImplementedError

    async def members_of(self, room_id: RoomId, memberships: Collection[str] = ("join",)) -> list[Membership]:
        """Return who is something to a room, oldest first."""
        raise NotImplementedError

    async def changed(self, user_id: UserId, *, after: int, upto: int) -> list[Membership]:
        """Return a user's memberships whose last member event is between two positions, in order."""
        raise NotImplementedError

    async def counts(self, room_ids: Collection[RoomId]) -> Mapping[RoomId, MemberCounts]:
        """Return how many are in each room."""
        raise NotImplementedError

    async def share_a_room(self, one: UserId, other: UserId) -> bool:
        """Return whether two users are in a room together."""
        raise NotImplementedError

    async def neighbours_of(self, user_id: UserId) -> frozenset[UserId]:
        """Return everybody who is in a room together with a user, except them."""
        raise NotImplementedError

    async def forget(self, user_id: UserId, room_id: RoomId) -> bool:
        """Let a user forget a room; return False, and change nothing, while they are in it or invited."""
        raise NotImplementedError
