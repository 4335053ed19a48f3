"""Joining, knocking, leaving and inviting, where that takes another server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tricord.federation.api import membership, third_party
from tricord.federation.calls.base import WHOLE_ROOM_BYTES, WHOLE_ROOM_SECONDS, PeerCalls, server_names
from tricord.federation.errors import PeerAnswerInvalid, PeerRefused
from tricord.protocol.identifiers import EventId, RoomId, ServerName, UserId
from tricord.protocol.strict_json import JsonObject


@dataclass(frozen=True, slots=True)
class Template:
    """An event that another server proposes. Never sign it: make your own, and take what must come from it."""

    room_version: str
    event: JsonObject


@dataclass(frozen=True, slots=True)
class SendJoin:
    """How a room is that was joined: the state before the join, and the auth chain of that and of the join."""

    event: JsonObject | None
    state: list[JsonObject]
    auth_chain: list[JsonObject]
    members_omitted: bool
    servers_in_room: list[ServerName]


class MembershipCalls(PeerCalls):
    """Memberships that another server helps with."""

    async def make_join(
        self, destination: ServerName, room_id: RoomId, user_id: UserId, versions: Sequence[str]
    ) -> Template:
        """Ask for the template of a join."""
        answer = await self._client.typed(
            destination,
            membership.MakeJoin,
            membership.TemplateResponse,
            {"room_id": room_id, "user_id": user_id},
            {"ver": list(versions)},
            urgent=True,
        )
        return Template(answer.room_version, answer.event)

    async def send_join(
        self, destination: ServerName, room_id: RoomId, event_id: EventId, pdu: JsonObject, omit_members: bool
    ) -> SendJoin:
        """Send a join, and learn the state of the room."""
        answer = await self._client.typed(
            destination,
            membership.SendJoin,
            membership.SendJoin.Response,
            {"room_id": room_id, "event_id": event_id},
            {"omit_members": omit_members},
            pdu,
            timeout_seconds=WHOLE_ROOM_SECONDS,
            max_bytes=WHOLE_ROOM_BYTES,
            urgent=True,
        )
        return SendJoin(
            answer.event,
            answer.state,
            answer.auth_chain,
            answer.members_omitted,
            server_names(answer.servers_in_room or []),
        )

    async def make_leave(self, destination: ServerName, room_id: RoomId, user_id: UserId) -> Template:
        """Ask for the template of a leave."""
        path = {"room_id": room_id, "user_id": user_id}
        answer = await self._client.typed(
            destination, membership.MakeLeave, membership.TemplateResponse, path, urgent=True
        )
        return Template(answer.room_version, answer.event)

    async def send_leave(self, destination: ServerName, room_id: RoomId, event_id: EventId, pdu: JsonObject) -> None:
        """Send a leave."""
        path = {"room_id": room_id, "event_id": event_id}
        await self._client.call(destination, membership.SendLeave, path, body=pdu, urgent=True)

    async def make_knock(
        self, destination: ServerName, room_id: RoomId, user_id: UserId, versions: Sequence[str]
    ) -> Template:
        """Ask for the template of a knock."""
        answer = await self._client.typed(
            destination,
            membership.MakeKnock,
            membership.TemplateResponse,
            {"room_id": room_id, "user_id": user_id},
            {"ver": list(versions)},
            urgent=True,
        )
        return Template(answer.room_version, answer.event)

    async def send_knock(
        self, destination: ServerName, room_id: RoomId, event_id: EventId, pdu: JsonObject
    ) -> list[JsonObject]:
        """Send a knock; return the events that show what was knocked upon."""
        path = {"room_id": room_id, "event_id": event_id}
        answer = await self._client.typed(
            destination, membership.SendKnock, membership.SendKnock.Response, path, body=pdu, urgent=True
        )
        return answer.knock_room_state

    async def invite(
        self,
        destination: ServerName,
        room_id: RoomId,
        event_id: EventId,
        pdu: JsonObject,
        room_version: str,
        invite_room_state: Sequence[JsonObject],
    ) -> JsonObject:
        """Have a user's server sign an invitation; return the event with its signature."""
        path = {"room_id": room_id, "event_id": event_id}
        body = {"room_version": room_version, "event": pdu, "invite_room_state": list(invite_room_state)}
        try:
            answer = await self._client.typed(
                destination, membership.Invite, membership.Invite.Response, path, body=body, urgent=True
            )
        except PeerRefused as error:
            # Servers that know only the older endpoint know only the two oldest room versions.
            if error.status not in (400, 404) or room_version not in ("1", "2"):
                raise
            try:
                return await self._invite_v1(destination, path, pdu, invite_room_state)
            except PeerRefused as older:
                if older.errcode == "M_UNRECOGNIZED":
                    raise error from older
                raise
        return answer.event

    async def _invite_v1(
        self,
        destination: ServerName,
        path: Mapping[str, str],
        pdu: JsonObject,
        invite_room_state: Sequence[JsonObject],
    ) -> JsonObject:
        body = {**pdu, "unsigned": {**pdu.get("unsigned", {}), "invite_room_state": list(invite_room_state)}}
        match await self._client.call(destination, membership.InviteV1, path, body=body, urgent=True):
            case [200, {"event": dict(event)}]:
                return event
        raise PeerAnswerInvalid(destination, "an invitation is answered with 200 and the event")

    async def exchange_third_party_invite(self, destination: ServerName, room_id: RoomId, invite: JsonObject) -> None:
        """Have a server in the room make an invitation of a third party's."""
        path = {"room_id": room_id}
        await self._client.call(destination, third_party.ExchangeThirdPartyInvite, path, body=invite, urgent=True)
