"""Whom this server can invite."""

from __future__ import annotations

from collections.abc import Sequence

from tricord.homeserver.rooms.admission import Admission
from tricord.homeserver.rooms.preferences import Preferences
from tricord.protocol.errors import InviteBlocked
from tricord.protocol.identifiers import RoomId, ServerName, UserId, server_name_of


class Invitations:
    """Decides who can be invited, before an event is made of it. Users of other servers are for these to ask."""

    def __init__(self, server_name: ServerName, preferences: Preferences, admission: Admission | None = None) -> None:
        self._admission = admission
        self._server_name = server_name
        self._preferences = preferences

    def is_local(self, user_id: UserId) -> bool:
        """Return whether a user is of this server."""
        return server_name_of(user_id) == self._server_name

    async def check_accepts(self, user_id: UserId, *, by: UserId, room_id: RoomId) -> None:
        """Refuse to invite users who block invitations, and invitations that those who run the server do not want."""
        if self._admission is not None:
            await self._admission.check_invitation(by, user_id, room_id)
        if not await self.accepting([user_id]):
            raise InviteBlocked(f"{user_id} accepts no invitations")

    async def check_allowed(self, sender: UserId, user_ids: Sequence[UserId]) -> None:
        """Refuse invitations to a new room that those who run the server do not want."""
        if self._admission is not None:
            for user_id in user_ids:
                await self._admission.check_invitation(sender, user_id, None)

    async def accepting(self, user_ids: Sequence[UserId]) -> list[UserId]:
        """Return those who do not block invitations."""
        local = [user_id for user_id in user_ids if self.is_local(user_id)]
        blocking = await self._preferences.blocking_invites(local) if local else frozenset()
        return [user_id for user_id in user_ids if user_id not in blocking]
