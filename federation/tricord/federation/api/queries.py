"""Questions about a server, its users and its rooms."""

from __future__ import annotations

from typing import Any

from tricord.clients.endpoint import Authentication, Endpoint, Model


class GetVersion(Endpoint):
    """What the server runs.

    https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1version
    """

    method = "GET"
    path = "/_matrix/federation/v1/version"
    authentication = Authentication.NONE


class GetServerWellKnown(Endpoint):
    """Where other servers find this one.

    https://spec.matrix.org/v1.19/server-server-api/#getwell-knownmatrixserver
    """

    method = "GET"
    path = "/.well-known/matrix/server"
    authentication = Authentication.NONE


class QueryDirectory(Endpoint):
    """The room that an alias stands for.

    https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1querydirectory
    """

    method = "GET"
    path = "/_matrix/federation/v1/query/directory"
    authentication = Authentication.SIGNED_REQUEST

    class Query(Model):
        """The alias."""

        room_alias: str


class QueryProfile(Endpoint):
    """The profile of a user.

    https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1queryprofile
    """

    method = "GET"
    path = "/_matrix/federation/v1/query/profile"
    authentication = Authentication.SIGNED_REQUEST

    class Query(Model):
        """The user, and the one field that is asked for."""

        user_id: str
        field: str | None = None


class GetPublicRooms(Endpoint):
    """The rooms that the server shows to everybody.

    https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1publicrooms
    """

    method = "GET"
    path = "/_matrix/federation/v1/publicRooms"
    authentication = Authentication.SIGNED_REQUEST

    class Query(Model):
        """Which of them."""

        limit: int | None = None
        since: str | None = None
        include_all_networks: bool = False
        third_party_instance_id: str | None = None


class QueryPublicRooms(Endpoint):
    """The rooms that the server shows to everybody, filtered.

    https://spec.matrix.org/v1.19/server-server-api/#post_matrixfederationv1publicrooms
    """

    method = "POST"
    path = "/_matrix/federation/v1/publicRooms"
    authentication = Authentication.SIGNED_REQUEST

    class Body(Model):
        """Which of them."""

        filter: dict[str, Any] | None = None
        limit: int | None = None
        since: str | None = None
        include_all_networks: bool = False
        third_party_instance_id: str | None = None


class GetOpenIdUserInfo(Endpoint):
    """Whose OpenID token it is.

    https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1openiduserinfo
    """

    method = "GET"
    path = "/_matrix/federation/v1/openid/userinfo"
    authentication = Authentication.NONE

    class Query(Model):
        """The token."""

        access_token: str
