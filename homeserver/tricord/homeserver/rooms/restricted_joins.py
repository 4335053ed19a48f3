"""Joining a room without an invitation because of being in another one.

"The server MUST verify that the requesting user meets at least one of the conditions":
https://spec.matrix.org/v1.19/client-server-api/#restricted-rooms
"""

from __future__ import annotations

from tricord.homeserver.rooms.memberships import Memberships
from tricord.homeserver.rooms.residence import Residence
from tricord.homeserver.rooms.standing import Standing
from tricord.protocol.errors import Forbidden, UnableToGrantJoin
from tricord.protocol.identifiers import RoomId, ServerName, UserId, server_name_of
from tricord.protocol.strict_json import JsonObject


class RestrictedJoins:
    """Checks the conditions of restricted rooms, and finds the user in whose name the join is granted."""

    def __init__(self, memberships: Memberships, server_name: ServerName) -> None:
        self._memberships = memberships
        self._server_name = server_name

    async def granting_user(self, standing: Standing, user_id: UserId) -> UserId:
        """Return the local user for `join_authorised_via_users_server`; refuse if no condition is met."""
        await self._check_conditions(standing, user_id)
        for member in sorted(await self._memberships.joined_members(standing.room_id)):
            if server_name_of(member) == self._server_name and standing.power.may_invite(member):
                return member
        raise UnableToGrantJoin(f"nobody on this server may invite to {standing.room_id}")

    def has_conditions(self, standing: Standing) -> bool:
        """Return whether there is any condition that could be met."""
        return bool(rooms_allowed_from(standing.content("m.room.join_rules")))

    async def knows_conditions(self, standing: Standing, residence: Residence) -> bool:
        """Return whether this server is in a room whose members may join, so that it knows who they are."""
        for room_id in rooms_allowed_from(standing.content("m.room.join_rules")):
            if await residence.is_in(RoomId(room_id)):
                return True
        return False

    async def _check_conditions(self, standing: Standing, user_id: UserId) -> None:
        joined = await self._memberships.joined_rooms(user_id)
        if not any(room_id in joined for room_id in rooms_allowed_from(standing.content("m.room.join_rules"))):
            raise Forbidden(
                f"{user_id} is not invited to {standing.room_id} and in none of the rooms whose members may join"
            )


def rooms_allowed_from(join_rules: JsonObject) -> list[str]:
    """Return the rooms of the `m.room_membership` conditions; what is malformed allows nobody."""
    conditions = join_rules.get("allow")
    return [
        condition["room_id"]
        for condition in (conditions if isinstance(conditions, list) else [])
        if isinstance(condition, dict)
        and condition.get("type") == "m.room_membership"
        and isinstance(condition.get("room_id"), str)
    ]
