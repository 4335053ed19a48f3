"""What a user's rooms are told when the user changes or goes.

https://spec.matrix.org/v1.19/client-server-api/#events-on-change-of-profile-information
"""

from __future__ import annotations

from collections.abc import Sequence

from tricord.homeserver.accounts.profile_fields import MEMBER_FIELDS
from tricord.homeserver.accounts.profiles import Profiles
from tricord.homeserver.rooms.append import Draft, Log
from tricord.homeserver.rooms.membership_changes import MembershipChanges
from tricord.homeserver.rooms.memberships import Memberships
from tricord.homeserver.rooms.state import RoomState
from tricord.homeserver.storage.room_updates import Act
from tricord.protocol.identifiers import RoomId, UserId

_MEMBER = "m.room.member"
# Of the join that the last member event was, not of this one: the user is in the room already.
_OF_THE_JOIN = frozenset({"join_authorised_via_users_server", "reason", "third_party_invite"})


class UserRooms:
    """Tells rooms by member events."""

    def __init__(
        self, memberships: Memberships, state: RoomState, log: Log, changes: MembershipChanges, profiles: Profiles
    ) -> None:
        self._memberships = memberships
        self._state = state
        self._log = log
        self._changes = changes
        self._profiles = profiles

    async def to_tell(self, user_id: UserId, act: Act) -> Sequence[RoomId]:
        """Return the rooms to tell."""
        if act == "profile":
            return sorted(await self._memberships.joined_rooms(user_id))
        rooms = await self._memberships.rooms_of(user_id)
        return sorted(room_id for room_id, room in rooms.items() if room.membership in {"join", "invite", "knock"})

    async def tell(self, user_id: UserId, act: Act, room_id: RoomId) -> None:
        """Do it in one room."""
        if act == "leave":
            await self._changes.leave(user_id, room_id)
        else:
            await self._tell_profile(user_id, room_id)

    async def _tell_profile(self, user_id: UserId, room_id: RoomId) -> None:
        key = (_MEMBER, user_id)
        member = (await self._state.current(room_id, [key])).get(key)
        if member is None or member.event.content.get("membership") != "join":
            return
        dropped = _OF_THE_JOIN.union(MEMBER_FIELDS)
        kept = {name: value for name, value in member.event.content.items() if name not in dropped}
        content = {**kept, **await self._profiles.member_profile(user_id)}
        if any(content.get(name) != member.event.content.get(name) for name in MEMBER_FIELDS):
            await self._log.append(Draft(room_id, user_id, _MEMBER, user_id, content))
