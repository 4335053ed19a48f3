"""Joining, leaving, knocking and inviting across servers."""

from __future__ import annotations

from pydantic import Field

from tricord.clients.endpoint import Authentication, Endpoint, Model


class MakeJoin(Endpoint):
    """A template for a join.

    https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1make_joinroomiduserid
    """

    method = "GET"
    path = "/_matrix/federation/v1/make_join/{room_id}/{user_id}"
    authentication = Authentication.SIGNED_REQUEST

    class Query(Model):
        """The room versions that the asking server supports."""

        ver: list[str] = Field(default_factory=lambda: ["1"])


class SendJoin(Endpoint):
    """A join, signed; the answer is the state of the room before it.

    https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv2send_joinroomideventid
    """

    method = "PUT"
    path = "/_matrix/federation/v2/send_join/{room_id}/{event_id}"
    authentication = Authentication.SIGNED_REQUEST

    class Query(Model):
        """Whether most members may be left out."""

        omit_members: bool = False


class MakeLeave(Endpoint):
    """A template for a leave.

    https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1make_leaveroomiduserid
    """

    method = "GET"
    path = "/_matrix/federation/v1/make_leave/{room_id}/{user_id}"
    authentication = Authentication.SIGNED_REQUEST


class SendLeave(Endpoint):
    """A leave, signed.

    https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv2send_leaveroomideventid
    """

    method = "PUT"
    path = "/_matrix/federation/v2/send_leave/{room_id}/{event_id}"
    authentication = Authentication.SIGNED_REQUEST


class MakeKnock(Endpoint):
    """A template for a knock.

    https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1make_knockroomiduserid
    """

    method = "GET"
    path = "/_matrix/federation/v1/make_knock/{room_id}/{user_id}"
    authentication = Authentication.SIGNED_REQUEST

    class Query(Model):
        """The room versions that the asking server supports."""

        ver: list[str] = Field(default_factory=list)


class SendKnock(Endpoint):
    """A knock, signed.

    https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv1send_knockroomideventid
    """

    method = "PUT"
    path = "/_matrix/federation/v1/send_knock/{room_id}/{event_id}"
    authentication = Authentication.SIGNED_REQUEST


class InviteV2(Endpoint):
    """An invitation, for the invited user's server to sign.

    https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv2inviteroomideventid
    """

    method = "PUT"
    path = "/_matrix/federation/v2/invite/{room_id}/{event_id}"
    authentication = Authentication.SIGNED_REQUEST


class InviteV1(Endpoint):
    """An invitation, as servers of long ago send it.

    https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv1inviteroomideventid
    """

    method = "PUT"
    path = "/_matrix/federation/v1/invite/{room_id}/{event_id}"
    authentication = Authentication.SIGNED_REQUEST


class ExchangeThirdPartyInvite(Endpoint):
    """A user's part in an invitation by e-mail, for the inviting server to make an event of.

    https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv1exchange_third_party_inviteroomid
    """

    method = "PUT"
    path = "/_matrix/federation/v1/exchange_third_party_invite/{room_id}"
    authentication = Authentication.SIGNED_REQUEST


class OnBindThirdPartyIdentifier(Endpoint):
    """Told by an identity server: somebody who was invited by e-mail has an account now.

    https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv13pidonbind
    """

    method = "PUT"
    path = "/_matrix/federation/v1/3pid/onbind"
    authentication = Authentication.NONE
