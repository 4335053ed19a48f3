"""Questions about what another server knows best: its aliases, its users' profiles, its version.

https://spec.matrix.org/v1.19/server-server-api/#querying-for-information
"""

from __future__ import annotations

from pydantic import Field

from tricord.clients.endpoint import Authentication, Endpoint, Model
from tricord.federation.api.fields import ARoomAlias, ARoomId, AUserId


class QueryDirectory(Endpoint):
    """Tell which room an alias of the server stands for.

    https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1querydirectory
    """

    method = "GET"
    path = "/_matrix/federation/v1/query/directory"
    authentication = Authentication.SIGNED_REQUEST
    hot = True
    body_kind = "none"

    class Query(Model):
        """The alias."""

        room_alias: ARoomAlias

    class Response(Model):
        """The room, and servers that are in it."""

        room_id: ARoomId
        servers: list[str]


class QueryProfile(Endpoint):
    """Tell the profile of a user of the server: an object of the fields that are set.

    https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1queryprofile
    """

    method = "GET"
    path = "/_matrix/federation/v1/query/profile"
    authentication = Authentication.SIGNED_REQUEST
    hot = True
    body_kind = "none"

    class Query(Model):
        """Whose, and perhaps which field of it alone."""

        user_id: AUserId
        field: str | None = None


class QueryOther(Endpoint):
    """Answer a question of a kind that the specification does not know; we know none either.

    https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1queryquerytype
    """

    method = "GET"
    path = "/_matrix/federation/v1/query/{query_type}"
    authentication = Authentication.SIGNED_REQUEST
    body_kind = "none"


class ServerVersion(Model):
    """What the server runs."""

    name: str | None = None
    version: str | None = None


class GetVersion(Endpoint):
    """Tell what the server runs.

    https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1version
    """

    method = "GET"
    path = "/_matrix/federation/v1/version"
    authentication = Authentication.NONE
    hot = True
    body_kind = "none"

    class Response(Model):
        """Name and version."""

        server: ServerVersion = Field(default_factory=ServerVersion)
