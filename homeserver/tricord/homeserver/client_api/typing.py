"""Route of typing notifications."""

from __future__ import annotations

from typing import Any

from tricord.clients.api.typing import SetTyping
from tricord.homeserver.rooms.membership_checks import check_joined
from tricord.homeserver.rooms.memberships import Memberships
from tricord.homeserver.rooms.typing import Typing
from tricord.homeserver.serving.call import Call, Route
from tricord.protocol.errors import Forbidden
from tricord.protocol.identifiers import parse_room_id, parse_user_id
from tricord.protocol.strict_json import JsonObject


class TypingApi:
    """Who is typing."""

    def __init__(self, typing: Typing, memberships: Memberships) -> None:
        self._typing = typing
        self._memberships = memberships

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [Route(SetTyping, self.set)]

    async def set(self, call: Call[SetTyping.Body, Any]) -> JsonObject:
        """Show the requester as typing, or no longer."""
        user_id, room_id = call.requester.user_id, parse_room_id(call.path["room_id"])
        if parse_user_id(call.path["user_id"]) != user_id:
            raise Forbidden("nobody can type for others")
        await check_joined(self._memberships, user_id, room_id)
        if call.body.typing:
            await self._typing.start(room_id, user_id, call.body.timeout)
        else:
            await self._typing.stop(room_id, user_id)
        return {}
