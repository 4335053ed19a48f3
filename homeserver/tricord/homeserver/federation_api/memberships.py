"""Routes of joining, leaving, knocking and inviting across servers."""

from __future__ import annotations

from typing import Any

import orjson

from tricord.federation.api.membership import (
    Invite,
    InviteV1,
    MakeJoin,
    MakeKnock,
    MakeLeave,
    SendJoin,
    SendKnock,
    SendLeave,
    VersionsQuery,
)
from tricord.homeserver.peers.hosting import Hosting
from tricord.homeserver.serving.call import Answer, Call, Route
from tricord.protocol.identifiers import EventId, RoomId, UserId, parse_room_id, parse_user_id
from tricord.protocol.strict_json import JsonObject


class FederationMembershipsApi:
    """Lets users of other servers into our rooms, and ours be invited to theirs."""

    def __init__(self, hosting: Hosting) -> None:
        self._hosting = hosting

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route(MakeJoin, self.make_join),
            Route(SendJoin, self.send_join),
            Route(MakeLeave, self.make_leave),
            Route(SendLeave, self.send_leave),
            Route(MakeKnock, self.make_knock),
            Route(SendKnock, self.send_knock),
            Route(Invite, self.invite),
            Route(InviteV1, self.invite_v1),
        ]

    async def make_join(self, call: Call[Any, VersionsQuery]) -> JsonObject:
        """Propose a join."""
        return await self._hosting.template(call.origin, *_room_and_user(call), "join", call.query.ver)

    async def make_leave(self, call: Call[Any, Any]) -> JsonObject:
        """Propose a leave."""
        return await self._hosting.template(call.origin, *_room_and_user(call), "leave", None)

    async def make_knock(self, call: Call[Any, VersionsQuery]) -> JsonObject:
        """Propose a knock."""
        return await self._hosting.template(call.origin, *_room_and_user(call), "knock", call.query.ver)

    async def send_join(self, call: Call[Any, SendJoin.Query]) -> JsonObject:
        """Take a join."""
        return await self._hosting.join(
            call.origin, *_room_and_event(call), call.body, omit_members=call.query.omit_members
        )

    async def send_leave(self, call: Call[Any, Any]) -> JsonObject:
        """Take a leave."""
        return await self._hosting.leave(call.origin, *_room_and_event(call), call.body)

    async def send_knock(self, call: Call[Any, Any]) -> JsonObject:
        """Take a knock."""
        return await self._hosting.knock(call.origin, *_room_and_event(call), call.body)

    async def invite(self, call: Call[Invite.Body, Any]) -> JsonObject:
        """Sign an invitation."""
        body = call.body
        signed = await self._hosting.invited(
            call.origin, *_room_and_event(call), body.event, body.room_version, body.invite_room_state
        )
        return {"event": signed}

    async def invite_v1(self, call: Call[Any, Any]) -> Answer:
        """Sign an invitation to a room as old as this endpoint."""
        unsigned = call.body.get("unsigned")
        shown = unsigned.get("invite_room_state") if isinstance(unsigned, dict) else None
        signed = await self._hosting.invited(call.origin, *_room_and_event(call), call.body, "1", shown)
        return Answer(orjson.dumps([200, {"event": signed}]))


def _room_and_user(call: Call[Any, Any]) -> tuple[RoomId, UserId]:
    return parse_room_id(call.path["room_id"]), parse_user_id(call.path["user_id"])


def _room_and_event(call: Call[Any, Any]) -> tuple[RoomId, EventId]:
    return parse_room_id(call.path["room_id"]), EventId(call.path["event_id"])
