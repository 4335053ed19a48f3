"""Routes of who is in a room."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tricord.clients.api.membership import (
    BanUser,
    ForgetRoom,
    InviteUser,
    JoinBody,
    JoinedRooms,
    JoinRoom,
    JoinRoomById,
    KickUser,
    KnockRoom,
    LeaveRoom,
    RoomIdResponse,
    UnbanUser,
    ViaQuery,
    WhomBody,
    WhyBody,
)
from tricord.homeserver.rooms.aliases import Aliases
from tricord.homeserver.rooms.membership_changes import MembershipChanges
from tricord.homeserver.rooms.memberships import Memberships
from tricord.homeserver.rooms.third_parties import ThirdPartyInvitations
from tricord.homeserver.serving.call import Call, Route
from tricord.protocol.errors import MissingParam, ServerNotTrusted
from tricord.protocol.identifiers import (
    RoomId,
    ServerName,
    parse_room_alias,
    parse_room_id,
    parse_server_name,
    parse_user_id,
)
from tricord.protocol.strict_json import JsonObject

_MOST_SERVERS = 20


class MembershipApi:
    """Joining, inviting, knocking, leaving, kicking, banning, forgetting."""

    def __init__(
        self,
        changes: MembershipChanges,
        memberships: Memberships,
        aliases: Aliases,
        third_parties: ThirdPartyInvitations | None = None,
    ) -> None:
        self._third_parties = third_parties
        self._changes = changes
        self._memberships = memberships
        self._aliases = aliases

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route(JoinedRooms, self.joined_rooms),
            Route(JoinRoomById, self.join_by_id),
            Route(JoinRoom, self.join),
            Route(KnockRoom, self.knock),
            Route(InviteUser, self.invite),
            Route(LeaveRoom, self.leave),
            Route(ForgetRoom, self.forget),
            Route(KickUser, self.kick),
            Route(BanUser, self.ban),
            Route(UnbanUser, self.unban),
        ]

    async def joined_rooms(self, call: Call[Any, Any]) -> JoinedRooms.Response:
        """List the rooms the requester is in."""
        joined = await self._memberships.joined_rooms(call.requester.user_id)
        return JoinedRooms.Response(joined_rooms=sorted(joined))

    async def join_by_id(self, call: Call[JoinBody, Any]) -> RoomIdResponse:
        """Join a room by id."""
        return await self._join(call, _room_id(call), (), call.body)

    async def join(self, call: Call[JoinBody, ViaQuery]) -> RoomIdResponse:
        """Join a room by id or alias."""
        room_id, servers = await self._named_room(call)
        return await self._join(call, room_id, servers, call.body)

    async def knock(self, call: Call[WhyBody, ViaQuery]) -> RoomIdResponse:
        """Knock upon a room."""
        room_id, servers = await self._named_room(call)
        await self._changes.knock(call.requester.user_id, room_id, call.body.reason, servers)
        return RoomIdResponse(room_id=room_id)

    async def invite(self, call: Call[InviteUser.Body, Any]) -> JsonObject:
        """Invite a user."""
        wanted = call.body
        if wanted.user_id is None and wanted.address is not None:
            await self._invite_by_address(call)
            return {}
        if wanted.user_id is None:
            raise MissingParam("`user_id` is missing")
        invitee = parse_user_id(wanted.user_id)
        await self._changes.invite(call.requester.user_id, _room_id(call), invitee, wanted.reason)
        return {}

    async def _invite_by_address(self, call: Call[InviteUser.Body, Any]) -> None:
        wanted = call.body
        if self._third_parties is None:
            raise ServerNotTrusted("this server uses no identity server: invite by `user_id` instead")
        if None in (wanted.id_server, wanted.id_access_token, wanted.medium):
            raise MissingParam("`id_server`, `id_access_token` or `medium` is missing")
        who = self._third_parties.third_party(
            wanted.id_server or "", wanted.id_access_token or "", wanted.medium or "", wanted.address or ""
        )
        await self._third_parties.invite(call.requester.user_id, _room_id(call), who, wanted.reason)

    async def leave(self, call: Call[WhyBody, Any]) -> JsonObject:
        """Leave a room."""
        await self._changes.leave(call.requester.user_id, _room_id(call), call.body.reason)
        return {}

    async def forget(self, call: Call[Any, Any]) -> JsonObject:
        """Forget a room."""
        await self._changes.forget(call.requester.user_id, _room_id(call))
        return {}

    async def kick(self, call: Call[WhomBody, Any]) -> JsonObject:
        """Kick a user."""
        whom = parse_user_id(call.body.user_id)
        await self._changes.kick(call.requester.user_id, _room_id(call), whom, call.body.reason)
        return {}

    async def ban(self, call: Call[WhomBody, Any]) -> JsonObject:
        """Ban a user."""
        whom = parse_user_id(call.body.user_id)
        await self._changes.ban(call.requester.user_id, _room_id(call), whom, call.body.reason)
        return {}

    async def unban(self, call: Call[WhomBody, Any]) -> JsonObject:
        """Unban a user."""
        whom = parse_user_id(call.body.user_id)
        await self._changes.unban(call.requester.user_id, _room_id(call), whom, call.body.reason)
        return {}

    async def _join(
        self, call: Call[Any, Any], room_id: RoomId, servers: Sequence[ServerName], body: JoinBody
    ) -> RoomIdResponse:
        await self._changes.join(call.requester, room_id, body.reason, servers)
        return RoomIdResponse(room_id=room_id)

    async def _named_room(self, call: Call[Any, ViaQuery]) -> tuple[RoomId, list[ServerName]]:
        """Return the room that is named by id or alias, and servers that are said to be in it."""
        named = call.path["room_id_or_alias"]
        given = [parse_server_name(server) for server in (*call.query.via, *call.query.server_name)[:_MOST_SERVERS]]
        if not named.startswith("#"):
            return parse_room_id(named), given
        room_id, servers = await self._aliases.resolve(parse_room_alias(named))
        return room_id, [*given, *servers]


def _room_id(call: Call[Any, Any]) -> RoomId:
    return parse_room_id(call.path["room_id"])
