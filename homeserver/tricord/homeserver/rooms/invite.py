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
        await self._check_not_blocked([user_id])

    async def check_all_accept(self, user_ids: Sequence[UserId], *, by: UserId) -> None:
        """Refuse to invite people to a new room for the same reasons."""
        if self._admission is not None:
            for user_id in user_ids:
                await self._admission.check_invitation(by, user_id, None)
        await self._check_not_blocked(user_ids)

    async def _check_not_blocked(self, user_ids: Sequence[UserId]) -> None:
        """Refuse whom to invite makes no sense.

        https://spec.matrix.org/v1.19/client-server-api/#invite-permission
        """
        local = [user_id for user_id in user_ids if self.is_local(user_id)]
        blocking = await self._preferences.blocking_invites(local) if local else frozenset()
        for user_id in local:
            if user_id in blocking:
                raise InviteBlocked(f"{user_id} accepts no invitations")
