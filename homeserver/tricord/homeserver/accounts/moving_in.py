"""What a user takes along from a room into the one that replaces it: tags, push rules, that it is a direct chat.

"When a user joins the new room, the server should automatically transfer/replicate some of the user's personalized
settings": https://spec.matrix.org/v1.19/client-server-api/#room-upgrades
"""

from __future__ import annotations

import structlog

from tricord.homeserver.accounts.account_data import TAGS, AccountData
from tricord.homeserver.push.rules import PushRules
from tricord.homeserver.rooms.memberships import Memberships
from tricord.homeserver.rooms.state import RoomState
from tricord.protocol.errors import MatrixError
from tricord.protocol.identifiers import RoomId, UserId
from tricord.protocol.strict_json import JsonObject

_logger = structlog.get_logger(__name__)

_CREATE = ("m.room.create", "")
_TOMBSTONE = ("m.room.tombstone", "")
_DIRECT = "m.direct"


class CarriedOver:
    """Carries personal settings into replaced rooms."""

    def __init__(
        self, state: RoomState, memberships: Memberships, account_data: AccountData, push_rules: PushRules
    ) -> None:
        self._state = state
        self._memberships = memberships
        self._account_data = account_data
        self._push_rules = push_rules

    async def move_in(self, user_id: UserId, room_id: RoomId) -> None:
        """Carry over what the user had set for the room's predecessor, if it has one.

        They are in the room whether this goes well or not.
        """
        try:
            await self._carry_over(user_id, room_id)
        except MatrixError as reason:
            _logger.info("settings were not carried over", user_id=user_id, room_id=room_id, reason=reason.message)

    async def _carry_over(self, user_id: UserId, room_id: RoomId) -> None:
        old_id = await self._predecessor(room_id)
        if old_id is None or await self._memberships.membership(user_id, old_id) is None:
            return
        await self._push_rules.move_in(user_id, old_id, room_id)
        await self._account_data.change(user_id, None, _DIRECT, lambda direct: _with_direct(direct, old_id, room_id))
        tags = await self._account_data.tags(user_id, old_id)
        if tags:
            await self._account_data.change(user_id, room_id, TAGS, lambda now: None if now else {"tags": tags})

    async def _predecessor(self, room_id: RoomId) -> RoomId | None:
        """Return the room that this one replaces: both must say so, for anybody can claim any predecessor."""
        create = (await self._state.current(room_id, [_CREATE])).get(_CREATE)
        claimed = None if create is None else create.event.content.get("predecessor")
        old_id = claimed.get("room_id") if isinstance(claimed, dict) else None
        if not isinstance(old_id, str) or old_id == room_id:
            return None
        tombstone = (await self._state.current(RoomId(old_id), [_TOMBSTONE])).get(_TOMBSTONE)
        if tombstone is None or tombstone.event.content.get("replacement_room") != room_id:
            return None
        return RoomId(old_id)


def _with_direct(direct: JsonObject, old_id: RoomId, new_id: RoomId) -> JsonObject | None:
    """Return `m.direct` with the new room next to the old one; None if there is nothing to change."""
    changed = {
        user_id: [*rooms, new_id]
        for user_id, rooms in direct.items()
        if isinstance(rooms, list) and old_id in rooms and new_id not in rooms
    }
    return {**direct, **changed} if changed else None
