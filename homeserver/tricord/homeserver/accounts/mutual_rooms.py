"""The rooms that two users are in together.

https://spec.matrix.org/v1.19/client-server-api/#mutual-rooms
"""

from __future__ import annotations

from bisect import bisect_right

from tricord.clients.api.people import GetMutualRooms
from tricord.homeserver.rooms.memberships import Memberships
from tricord.protocol.errors import InvalidParam
from tricord.protocol.identifiers import UserId

_MOST_ROOMS = 100
_TOKEN = "after_"  # noqa: S105  # where a page begins


class MutualRooms:
    """Tells users what they share with others; rooms of others that they are not in stay unknown."""

    def __init__(self, memberships: Memberships) -> None:
        self._memberships = memberships

    async def page(self, user_id: UserId, other: UserId, token: str | None) -> GetMutualRooms.Response:
        """Return some of the rooms, in the order of their ids."""
        if other == user_id:
            raise InvalidParam("`user_id` is your own: you share all of your rooms with yourself")
        if token is not None and not token.startswith(_TOKEN):
            raise InvalidParam("`from` is not a token of this endpoint")
        shared = sorted(await self._memberships.joined_rooms(user_id) & await self._memberships.joined_rooms(other))
        first = 0 if token is None else bisect_right(shared, token.removeprefix(_TOKEN))
        page = shared[first : first + _MOST_ROOMS]
        following = f"{_TOKEN}{page[-1]}" if first + _MOST_ROOMS < len(shared) else None
        return GetMutualRooms.Response(joined=page, count=len(shared), next_batch=following)
