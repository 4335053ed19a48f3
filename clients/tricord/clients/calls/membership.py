"""Making rooms, and who is in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tricord.clients.api import membership as api
from tricord.clients.api.room_creation import CreateRoom, Preset
from tricord.clients.calls.base import Calls, given
from tricord.protocol.identifiers import RoomAlias, RoomId, UserId


class MembershipCalls(Calls):
    """Creating, joining, inviting, leaving, kicking, banning, knocking, forgetting."""

    async def create_room(
        self,
        *,
        name: str | None = None,
        topic: str | None = None,
        invite: Sequence[UserId] = (),
        preset: Preset | None = None,
        alias: str | None = None,
        is_direct: bool = False,
        room_version: str | None = None,
        encrypted: bool = False,
        **options: Any,
    ) -> RoomId:
        """Create a room and return its id.

        `alias` is the part before the colon. What is said in a room that is `encrypted` only its members can read, and
        not their homeservers; it stays so. `options` are further keys of the request's body, as the specification
        names them (`initial_state`, `power_level_content_override`, …).
        https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3createroom
        """
        body = {
            "name": name,
            "topic": topic,
            "invite": list(invite) or None,
            "preset": preset,
            "room_alias_name": alias,
            "is_direct": is_direct or None,
            "room_version": room_version,
            **options,
        }
        if encrypted:
            encryption = {
                "type": "m.room.encryption",
                "state_key": "",
                "content": {"algorithm": "m.megolm.v1.aes-sha2"},
            }
            body["initial_state"] = [*options.get("initial_state", ()), encryption]
        return (await self.http.typed(CreateRoom, CreateRoom.Response, body=given(body))).room_id

    async def joined_rooms(self) -> list[RoomId]:
        """Return the rooms we are joined to."""
        return (await self.http.typed(api.JoinedRooms, api.JoinedRooms.Response)).joined_rooms

    async def join(self, room: RoomId | RoomAlias, *, via: Sequence[str] = (), reason: str | None = None) -> RoomId:
        """Join a room by id or alias; `via` are servers that are said to be in it.

        Raises Refused: M_FORBIDDEN when we are not let in, M_NOT_FOUND for an alias that stands for nothing.
        https://spec.matrix.org/v1.19/client-server-api/#joining-rooms
        """
        answer = await self.http.typed(
            api.JoinRoom,
            api.RoomIdResponse,
            {"room_id_or_alias": room},
            query={"via": list(via) or None},
            body=_why(reason),
        )
        return answer.room_id

    async def knock(self, room: RoomId | RoomAlias, *, via: Sequence[str] = (), reason: str | None = None) -> RoomId:
        """Ask to be invited."""
        answer = await self.http.typed(
            api.KnockRoom,
            api.RoomIdResponse,
            {"room_id_or_alias": room},
            query={"via": list(via) or None},
            body=_why(reason),
        )
        return answer.room_id

    async def invite(self, room_id: RoomId, user_id: UserId, *, reason: str | None = None) -> None:
        """Invite a user."""
        await self.http.call(api.InviteUser, {"room_id": room_id}, body={"user_id": user_id, **_why(reason)})

    async def invite_by_address(
        self, room_id: RoomId, address: str, *, id_server: str, id_access_token: str, medium: str = "email"
    ) -> None:
        """Invite somebody of whom only an e-mail address or telephone number is known, with the help of a server.

        It is an identity server that ours trusts; the token is what it gave us when we registered there.
        """
        body = {"id_server": id_server, "id_access_token": id_access_token, "medium": medium, "address": address}
        await self.http.call(api.InviteUser, {"room_id": room_id}, body=body)

    async def leave(self, room_id: RoomId, *, reason: str | None = None) -> None:
        """Leave a room, reject an invitation or take back a knock."""
        await self.http.call(api.LeaveRoom, {"room_id": room_id}, body=_why(reason))

    async def forget(self, room_id: RoomId) -> None:
        """Forget a room that was left."""
        await self.http.call(api.ForgetRoom, {"room_id": room_id})

    async def kick(self, room_id: RoomId, user_id: UserId, *, reason: str | None = None) -> None:
        """Make a user leave."""
        await self.http.call(api.KickUser, {"room_id": room_id}, body={"user_id": user_id, **_why(reason)})

    async def ban(self, room_id: RoomId, user_id: UserId, *, reason: str | None = None) -> None:
        """Ban a user."""
        await self.http.call(api.BanUser, {"room_id": room_id}, body={"user_id": user_id, **_why(reason)})

    async def unban(self, room_id: RoomId, user_id: UserId, *, reason: str | None = None) -> None:
        """Lift a ban."""
        await self.http.call(api.UnbanUser, {"room_id": room_id}, body={"user_id": user_id, **_why(reason)})


def _why(reason: str | None) -> dict[str, str]:
    return given({"reason": reason})
