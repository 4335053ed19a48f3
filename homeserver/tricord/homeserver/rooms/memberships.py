"""Who is in which room.

The log keeps the rows; here they are read, what is asked all the time from memory.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Generic, TypeVar

from tricord.homeserver.storage import memberships as storage
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.gathered_reads import GatheredReads
from tricord.homeserver.storage.memberships import Membership
from tricord.homeserver.stream.publisher import Commit, Publisher
from tricord.protocol.identifiers import RoomId, ServerName, UserId

__all__ = ["MemberCounts", "Membership", "Memberships"]

_MOST_NAMES = 500_000
_MOST_COUNTS = 100_000
_MOST_STAYS = 100_000
# What users are, and how many of them are asked for.
_Kinds = tuple[tuple[str, ...], int]
_NOBODY: Mapping[_Kinds, list[UserId]] = {}

Owner = TypeVar("Owner", bound=str)
Name = TypeVar("Name", bound=str)


@dataclass(frozen=True, slots=True)
class MemberCounts:
    """How many are in a room, and invited."""

    joined: int = 0
    invited: int = 0


class Memberships:
    """Who is in which room now."""

    def __init__(self, database: Database, publisher: Publisher) -> None:
        self._database = database
        self._publisher = publisher
        self._rooms: _Sets[UserId, RoomId] = _Sets(lambda users: database.read(storage.joined_rooms_of, users))
        self._members: _Sets[RoomId, UserId] = _Sets(lambda rooms: database.read(storage.joined_members_of, rooms))
        self._counts: dict[RoomId, MemberCounts] = {}
        # The first few who are something to a room, by what they are and how many are asked for.
        self._firsts: dict[RoomId, dict[_Kinds, list[UserId]]] = {}
        # Where users are members, with since when: the one kind of membership that each of their reads asks for.
        self._stays: dict[UserId, dict[RoomId, Membership]] = {}
        self._stays_size = 0
        # Goes up when a membership changes: what was read meanwhile may be too old to keep.
        self._member_changes = 0
        publisher.observe_other_processes(self._forget_changed, self._forget_all)

    async def joined_rooms(self, user_id: UserId) -> frozenset[RoomId]:
        """Return the rooms a user is in."""
        return await self._rooms.of(user_id)

    async def joined_rooms_of(self, user_ids: Collection[UserId]) -> dict[UserId, frozenset[RoomId]]:
        """Return the rooms that each of some users is in."""
        return await self._rooms.of_all(user_ids)

    async def joined_members(self, room_id: RoomId) -> frozenset[UserId]:
        """Return the users who are in a room."""
        return await self._members.of(room_id)

    async def joined_members_now(self, room_id: RoomId) -> AbstractSet[UserId]:
        """Return the users who are in a room, without a copy of their set: not to be kept, it changes as they do."""
        return await self._members.now(room_id)

    async def joined_members_in(self, room_ids: Collection[RoomId]) -> dict[RoomId, frozenset[UserId]]:
        """Return the users who are in each of some rooms."""
        return await self._members.of_all(room_ids)

    async def membership(self, user_id: UserId, room_id: RoomId) -> Membership | None:
        """Return what a user is to a room; None if there never was a member event."""
        return (await self.memberships(user_id, [room_id])).get(room_id)

    async def memberships(self, user_id: UserId, room_ids: Collection[RoomId]) -> dict[RoomId, Membership]:
        """Return what a user is to each of some rooms, forgotten ones too; those they never were in are absent."""
        stays = self._stays.get(user_id, {})
        found = {room_id: stay for room_id in room_ids if (stay := stays.get(room_id)) is not None}
        if len(found) < len(room_ids):
            changes = self._member_changes
            unknown = [room_id for room_id in room_ids if room_id not in found]
            read = {row.room_id: row for row in await self._database.read(storage.memberships_in, user_id, unknown)}
            if changes == self._member_changes:
                self._keep_stays(user_id, read)
            found |= read
        return found

    async def rooms_of(self, user_id: UserId) -> dict[RoomId, Membership]:
        """Return all that a user is or was to rooms, and has not forgotten."""
        rows = await self._database.read(storage.memberships_of_user, user_id)
        return {row.room_id: row for row in rows}

    async def rooms_with_people_of(
        self, server: ServerName, room_ids: Collection[RoomId], memberships: Collection[str] = ("join",)
    ) -> frozenset[RoomId]:
        """Return those of the rooms which somebody of a server is in."""
        return frozenset(await self._database.read(storage.rooms_with_people_of, server, room_ids, memberships))

    async def members_of(self, room_id: RoomId, memberships: Collection[str] = ("join",)) -> list[Membership]:
        """Return who is something to a room, oldest first."""
        return await self._database.read(storage.memberships_in_room, room_id, list(memberships))

    async def first_members(
        self, room_ids: Collection[RoomId], memberships: Collection[str], *, but: UserId, limit: int
    ) -> dict[RoomId, list[UserId]]:
        """Return a few who are something to each of the rooms, those of longest standing first; without one user."""
        kinds = (tuple(memberships), limit)
        found = {r: first for r in room_ids if (first := self._firsts.get(r, _NOBODY).get(kinds)) is not None}
        if len(found) < len(room_ids):
            changes = self._member_changes
            read: dict[RoomId, list[UserId]] = {room_id: [] for room_id in room_ids if room_id not in found}
            # One more than asked for: whoever asks may be among them.
            for room_id, user_id in await self._database.read(
                storage.first_members, read.keys(), list(memberships), limit + 1
            ):
                read[room_id].append(user_id)
            found |= read
            if changes == self._member_changes:
                for room_id, first in read.items():
                    self._firsts.setdefault(room_id, {})[kinds] = first
                while len(self._firsts) > _MOST_COUNTS:
                    del self._firsts[next(iter(self._firsts))]
        without = {
            room_id: [user_id for user_id in first if user_id != but][:limit] for room_id, first in found.items()
        }
        return {room_id: first for room_id, first in without.items() if first}

    async def changed(self, user_id: UserId, *, after: int, upto: int) -> list[Membership]:
        """Return a user's memberships whose last member event is between two positions, in order."""
        return await self._database.read(storage.memberships_changed, user_id, after=after, upto=upto)

    async def elsewhere(self, user_id: UserId) -> list[Membership]:
        """Return the rooms that a user is not in, but asked into, knocking on, or was put out of."""
        return await self._database.read(storage.memberships_elsewhere, user_id)

    async def counts(self, room_ids: Collection[RoomId]) -> Mapping[RoomId, MemberCounts]:
        """Return how many are in each of the rooms that are here."""
        counts = {room_id: known for room_id in room_ids if (known := self._counts.get(room_id)) is not None}
        if len(counts) < len(room_ids):
            changes = self._member_changes
            rows = await self._database.read(storage.member_counts, [r for r in room_ids if r not in counts])
            read = {room_id: MemberCounts(joined, invited) for room_id, joined, invited in rows}
            counts |= read
            if changes == self._member_changes:
                self._counts |= read
                while len(self._counts) > _MOST_COUNTS:
                    del self._counts[next(iter(self._counts))]
        return counts

    async def share_a_room(self, one: UserId, other: UserId) -> bool:
        """Return whether two users are in a room together."""
        return not (await self.joined_rooms(one)).isdisjoint(await self.joined_rooms(other))

    async def neighbours_of(self, user_id: UserId) -> frozenset[UserId]:
        """Return everybody who is in a room together with a user, except them."""
        members = await self._members.of_all(await self.joined_rooms(user_id))
        return frozenset().union(*members.values()) - {user_id}

    async def forget(self, user_id: UserId, room_id: RoomId) -> bool:
        """Let a user forget a room; return False, and change nothing, while they are in it or invited."""
        forgotten, position = await self._database.run(storage.forget_room, user_id, room_id)
        if position is not None:
            self._publisher.publish(Commit(position, rooms=frozenset(), users=frozenset((user_id,))))
        return forgotten

    def note(self, room_id: RoomId, user_id: UserId, membership: str) -> None:
        """Take in a membership that the log has just committed."""
        is_in = membership == "join"
        self._rooms.change(user_id, room_id, is_in=is_in)
        self._members.change(room_id, user_id, is_in=is_in)
        self._member_changes += 1
        self._forget_room(room_id)
        if (stays := self._stays.get(user_id)) and stays.pop(room_id, None) is not None:
            self._stays_size -= 1

    def look_again(self, room_ids: Collection[RoomId], user_ids: Collection[UserId]) -> None:
        """Read again next time what some users are to some rooms, whoever has changed it last."""
        self._rooms.forget(user_ids)
        self._members.forget(room_ids)
        self._forget_stays(user_ids)
        self._member_changes += 1
        for room_id in room_ids:
            self._forget_room(room_id)

    def _keep_stays(self, user_id: UserId, read: Mapping[RoomId, Membership]) -> None:
        stays = {room_id: row for room_id, row in read.items() if row.membership == "join"}
        if stays:
            kept = self._stays.setdefault(user_id, {})
            self._stays_size -= len(kept)
            kept |= stays
            self._stays_size += len(kept)
        while self._stays_size > _MOST_STAYS and len(self._stays) > 1:
            self._forget_stays([next(iter(self._stays))])

    def _forget_stays(self, user_ids: Iterable[UserId]) -> None:
        for user_id in user_ids:
            self._stays_size -= len(self._stays.pop(user_id, ()))

    def _forget_changed(self, commit: Commit) -> None:
        if commit.has_events and commit.users:
            self.look_again(commit.rooms, commit.users)

    def _forget_room(self, room_id: RoomId) -> None:
        self._counts.pop(room_id, None)
        self._firsts.pop(room_id, None)

    def _forget_all(self, _position: int) -> None:
        self._rooms.forget_all()
        self._members.forget_all()
        self._member_changes += 1
        self._counts.clear()
        self._firsts.clear()
        self._stays.clear()
        self._stays_size = 0


class _Sets(Generic[Owner, Name]):
    """Sets of names, those read last. One is frozen when somebody asks for it to keep, and is so until it changes.

    A name is one string, however many sets it is in: it takes as much memory as the rest of its place there.
    """

    def __init__(self, read: Callable[[Collection[Owner]], Awaitable[Iterable[tuple[Owner, Name]]]]) -> None:
        self._read = read
        self._reads: GatheredReads[Owner, frozenset[Name]] = GatheredReads(self._read_all)
        self._sets: dict[Owner, set[Name] | frozenset[Name]] = {}
        self._size = 0
        # Sets that are being read, by one or several at once, and what has changed meanwhile. To take one out is to
        # not keep what is read.
        self._reading: dict[Owner, dict[Name, bool]] = {}

    async def now(self, owner: Owner) -> AbstractSet[Name]:
        """Return the set of an owner to be looked at before anything else happens: it may change after that."""
        names = self._sets.get(owner)
        return await self.of(owner) if names is None else names

    async def of(self, owner: Owner) -> frozenset[Name]:
        """Return the set of an owner."""
        names = self._sets.get(owner)
        return names if isinstance(names, frozenset) else (await self.of_all([owner]))[owner]

    async def of_all(self, owners: Collection[Owner]) -> dict[Owner, frozenset[Name]]:
        """Return the sets of some owners; those not in memory are read together."""
        found: dict[Owner, frozenset[Name]] = {}
        unknown = []
        for owner in owners:
            names = self._sets.get(owner)
            if names is None:
                unknown.append(owner)
            elif isinstance(names, frozenset):
                found[owner] = names
            else:
                found[owner] = self._sets[owner] = frozenset(names)
        if unknown:
            found |= await self._read_and_keep(unknown)
        return found

    def change(self, owner: Owner, name: Name, *, is_in: bool) -> None:
        """Add a name to the set of an owner, or take it out."""
        if (changed := self._reading.get(owner)) is not None:
            changed[name] = is_in
        names = self._sets.get(owner)
        if names is None or (name in names) is is_in:
            return
        if isinstance(names, frozenset):
            names = self._sets[owner] = set(names)
        if is_in:
            names.add(_one_string(name))
            self._size += 1
        else:
            names.discard(name)
            self._size -= 1

    def forget(self, owners: Iterable[Owner]) -> None:
        """Read the sets of some owners again next time."""
        for owner in owners:
            self._reading.pop(owner, None)
            self._size -= len(self._sets.pop(owner, ()))

    def forget_all(self) -> None:
        """Read all sets again next time."""
        self._reading.clear()
        self._sets.clear()
        self._size = 0

    async def _read_and_keep(self, owners: Iterable[Owner]) -> dict[Owner, frozenset[Name]]:
        readings = {owner: self._reading.setdefault(owner, {}) for owner in owners}
        try:
            read = await self._reads.get(list(readings))
        finally:
            kept = [owner for owner, changed in readings.items() if self._reading.get(owner) is changed]
            for owner in kept:
                del self._reading[owner]
        found = {owner: _as_changed(read.get(owner, frozenset()), changed) for owner, changed in readings.items()}
        for owner in kept:
            self._keep(owner, found[owner])
        return found

    async def _read_all(self, owners: Sequence[Owner]) -> dict[Owner, frozenset[Name]]:
        sets: dict[Owner, set[Name]] = {}
        for owner, name in await self._read(owners):
            sets.setdefault(owner, set()).add(_one_string(name))
        return {owner: frozenset(names) for owner, names in sets.items()}

    def _keep(self, owner: Owner, names: frozenset[Name]) -> None:
        self._size += len(names) - len(self._sets.pop(owner, ()))
        self._sets[owner] = names
        while self._size > _MOST_NAMES and len(self._sets) > 1:
            self.forget([next(iter(self._sets))])


def _as_changed(names: frozenset[Name], changed: Mapping[Name, bool]) -> frozenset[Name]:
    """Return a set with what has come to it, and without what has gone."""
    if not changed:
        return names
    come = {_one_string(name) for name, is_in in changed.items() if is_in}
    return (names | come) - (changed.keys() - come)


def _one_string(name: Name) -> Name:
    """Return the string that stands for a name everywhere, as long as anybody has it."""
    return sys.intern(name)  # type: ignore[return-value]  # an equal string of the same kind
