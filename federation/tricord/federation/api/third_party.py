"""Invitations by e-mail address and the like, whose receiver turns out to be a Matrix user.

https://spec.matrix.org/v1.19/server-server-api/#third-party-invites
"""

from __future__ import annotations

from typing import Literal

from tricord.clients.endpoint import Authentication, Endpoint, Model
from tricord.federation.api.fields import ARoomId, AServerName, AUserId, Nothing, Pdu


class Invitation(Model):
    """An invitation that waited for this."""

    address: str
    medium: str
    mxid: AUserId
    room_id: ARoomId
    sender: AUserId
    signed: Pdu


class OnBind(Endpoint):
    """Take note that an identifier belongs to a user; told by an identity server, which signs each invitation.

    https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv13pidonbind
    """

    method = "PUT"
    path = "/_matrix/federation/v1/3pid/onbind"
    authentication = Authentication.NONE

    class Body(Model):
        """The identifier, its user, and what waited for them."""

        medium: str
        address: str
        mxid: AUserId
        invites: list[Invitation]

    Response = Nothing


class OnBindByPost(OnBind):
    """Take note of the same by POST, which is what identity servers really send."""

    method = "POST"


class ThirdPartyInviteContent(Model):
    """The membership with the proof of who was meant."""

    membership: Literal["invite"]
    third_party_invite: Pdu


class ExchangeThirdPartyInvite(Endpoint):
    """Make an invitation of the proof that an identifier is a user's.

    https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv1exchange_third_party_inviteroomid
    """

    method = "PUT"
    path = "/_matrix/federation/v1/exchange_third_party_invite/{room_id}"
    authentication = Authentication.SIGNED_REQUEST

    class Body(Model):
        """The invitation that could be."""

        type: Literal["m.room.member"]
        room_id: ARoomId
        sender: AUserId
        state_key: AUserId
        origin: AServerName | None = None
        content: ThirdPartyInviteContent

    Response = Nothing
