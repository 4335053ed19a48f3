"""What administrators of a server do to accounts."""

from __future__ import annotations

from tricord.clients.api import administration as api
from tricord.clients.calls.base import Calls
from tricord.protocol.identifiers import UserId


class AdministrationCalls(Calls):
    """Locking and suspending users: for administrators.

    https://spec.matrix.org/v1.19/client-server-api/#account-moderation
    """

    async def is_locked(self, user_id: UserId) -> bool:
        """Return whether an account is locked."""
        return (await self.http.typed(api.GetLocked, api.Locked, {"user_id": user_id})).locked

    async def set_locked(self, user_id: UserId, *, locked: bool = True) -> None:
        """Lock a user out without ending their sessions, or let them in again."""
        await self.http.typed(api.SetLocked, api.Locked, {"user_id": user_id}, body={"locked": locked})

    async def is_suspended(self, user_id: UserId) -> bool:
        """Return whether an account is suspended."""
        return (await self.http.typed(api.GetSuspended, api.Suspended, {"user_id": user_id})).suspended

    async def set_suspended(self, user_id: UserId, *, suspended: bool = True) -> None:
        """Leave a user little but to read and to go, or let them do everything again."""
        await self.http.typed(api.SetSuspended, api.Suspended, {"user_id": user_id}, body={"suspended": suspended})

    async def who_is(self, user_id: UserId) -> api.WhoIs.Response:
        """Return from where the devices of a user were last used."""
        return await self.http.typed(api.WhoIs, api.WhoIs.Response, {"user_id": user_id})
