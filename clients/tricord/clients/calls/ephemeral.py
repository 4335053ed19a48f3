"""What passes: typing, receipts, presence."""

from __future__ import annotations

from typing import Literal

from tricord.clients.api import presence, receipts, typing
from tricord.clients.calls.base import Calls, given
from tricord.protocol.identifiers import EventId, RoomId, UserId


class EphemeralCalls(Calls):
    """Typing notifications, read receipts and markers, presence."""

    async def set_typing(self, room_id: RoomId, *, typing_now: bool = True, timeout_ms: int = 20_000) -> None:
        """Say that we are typing, for at most `timeout_ms`, or no longer.

        https://spec.matrix.org/v1.19/client-server-api/#typing-notifications
        """
        body = {"typing": True, "timeout": timeout_ms} if typing_now else {"typing": False}
        await self.http.call(typing.SetTyping, {"room_id": room_id, "user_id": self.user_id}, body=body)

    async def mark_read(
        self, room_id: RoomId, event_id: EventId, *, private: bool = False, thread: str | None = None
    ) -> None:
        """Say that we have read everything up to an event; `private` keeps it from others.

        `thread` is the id of a thread's first event, or `main`; without it the receipt is for the whole room.
        https://spec.matrix.org/v1.19/client-server-api/#receipts
        """
        path = {
            "room_id": room_id,
            "receipt_type": "m.read.private" if private else "m.read",
            "event_id": event_id,
        }
        await self.http.call(receipts.SendReceipt, path, body=given({"thread_id": thread}))

    async def set_read_markers(
        self,
        room_id: RoomId,
        *,
        fully_read: EventId | None = None,
        read: EventId | None = None,
        read_private: EventId | None = None,
    ) -> None:
        """Move the fully-read marker and, in the same request, read receipts.

        https://spec.matrix.org/v1.19/client-server-api/#fully-read-markers
        """
        body = given({"m.fully_read": fully_read, "m.read": read, "m.read.private": read_private})
        await self.http.call(receipts.SetReadMarkers, {"room_id": room_id}, body=body)

    async def set_presence(
        self, state: Literal["online", "offline", "unavailable"], *, status: str | None = None
    ) -> None:
        """Say whether we are here, with a status message perhaps.

        https://spec.matrix.org/v1.19/client-server-api/#presence
        """
        body = given({"presence": state, "status_msg": status})
        await self.http.call(presence.SetPresence, {"user_id": self.user_id}, body=body)

    async def presence_of(self, user_id: UserId) -> presence.GetPresence.Response:
        """Return whether a user is here."""
        return await self.http.typed(presence.GetPresence, presence.GetPresence.Response, {"user_id": user_id})
