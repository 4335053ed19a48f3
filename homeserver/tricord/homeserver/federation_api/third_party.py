"""Routes of invitations by e-mail address and the like."""

from __future__ import annotations

from typing import Any

from tricord.federation.api.third_party import ExchangeThirdPartyInvite, OnBind, OnBindByPost
from tricord.homeserver.peers.third_party_invites import ThirdPartyInvites
from tricord.homeserver.serving.call import Call, Route
from tricord.protocol.errors import BadJson
from tricord.protocol.identifiers import parse_room_id
from tricord.protocol.strict_json import JsonObject


class ThirdPartyInvitesApi:
    """Takes news of who a third party is."""

    def __init__(self, invites: ThirdPartyInvites) -> None:
        self._invites = invites

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route(OnBind, self.bound),
            Route(OnBindByPost, self.bound),
            Route(ExchangeThirdPartyInvite, self.exchange),
        ]

    async def bound(self, call: Call[OnBind.Body, Any]) -> JsonObject:
        """Take note that an identifier is one of our users'."""
        await self._invites.bound(call.body.mxid, call.body.invites)
        return {}

    async def exchange(self, call: Call[ExchangeThirdPartyInvite.Body, Any]) -> JsonObject:
        """Make an invitation of the proof of who was meant."""
        room_id, body = parse_room_id(call.path["room_id"]), call.body
        if body.room_id != room_id:
            raise BadJson(f"the event is of {body.room_id}, and the path names {room_id}")
        signed = body.content.third_party_invite.get("signed")
        if not isinstance(signed, dict):
            raise BadJson("the invitation has nothing signed")
        await self._invites.exchange(call.origin, room_id, body.sender, body.state_key, signed)
        return {}
