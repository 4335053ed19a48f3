"""What a room is, for one who thinks of joining it.

https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1room_summaryroomidoralias
"""

from __future__ import annotations

from collections.abc import Sequence

from tricord.clients.api.spaces import GetRoomSummary
from tricord.homeserver.rooms.hierarchy import RoomsElsewhere
from tricord.homeserver.rooms.memberships import Memberships
from tricord.homeserver.rooms.outsiders import servers_in_id
from tricord.homeserver.rooms.previews import Previews, is_open
from tricord.protocol.errors import NotFound
from tricord.protocol.identifiers import RoomId, ServerName, UserId, server_name_of


class Summaries:
    """Shows single rooms."""

    def __init__(self, previews: Previews, memberships: Memberships, elsewhere: RoomsElsewhere) -> None:
        self._previews = previews
        self._memberships = memberships
        self._elsewhere = elsewhere

    async def of(
        self, user_id: UserId | None, room_id: RoomId, servers: Sequence[ServerName]
    ) -> GetRoomSummary.Response:
        """Return what a room is; NotFound if it is not known, or not for this user's eyes.

        Only for those who are signed in other servers are asked.
        """
        found = (await self._previews.of_rooms([room_id])).get(room_id)
        if found is None and user_id is not None:
            known = await self._servers_of(user_id, room_id, servers)
            told = (await self._elsewhere.previews({room_id: known}, suggested_only=False)).get(room_id)
            found = None if told is None else told.room
        if found is not None and user_id is None and is_open(found.summary):
            return GetRoomSummary.Response(**found.summary.model_dump())
        if found is not None and user_id is not None:
            visible = await self._previews.visible_to_user(user_id, {room_id: found.summary})
            if room_id in visible:
                return GetRoomSummary.Response(**found.summary.model_dump(), membership=visible[room_id])
        raise NotFound(f"there is no room {room_id} that can be looked at from here")

    async def _servers_of(self, user_id: UserId, room_id: RoomId, servers: Sequence[ServerName]) -> list[ServerName]:
        now = await self._memberships.membership(user_id, room_id)
        inviting = [] if now is None or now.membership != "invite" else [server_name_of(now.sender)]
        return list(dict.fromkeys([*inviting, *servers, *servers_in_id(room_id)]))
