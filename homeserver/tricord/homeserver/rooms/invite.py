"""Whom this server can invite."""

from __future__ import annotations

from collections.abc import Sequence

from tricord.homeserver.rooms.preferences import Preferences
from tricord.protocol.errors import Forbidden, InviteBlocked
from tricord.protocol.identifiers import ServerName, UserId, server_name_of


class Invitations:
    """Decides who can be invited, before an event is made of it."""

    def __init__(self, server_name: ServerName, preferences: Preferences) -> None:
        self._server_name = server_name
        self._preferences = preferences

    async def check_accepts(self, user_id: UserId) -> None:
        """Refuse to invite users who block invitations, and users of other servers."""
        if not await self.accepting([user_id]):
            raise InviteBlocked(f"{user_id} accepts no invitations")

    async def accepting(self, user_ids: Sequence[UserId]) -> list[UserId]:
        """Return those who do not block invitations; refuse users of other servers."""
        for user_id in user_ids:
            if server_name_of(user_id) != self._server_name:
                raise Forbidden(f"{user_id} is on another server, and this server cannot invite there yet")
        if not user_ids:
            return []
        blocking = await self._preferences.blocking_invites(user_ids)
        return [user_id for user_id in user_ids if user_id not in blocking]
