"""The published room directory of a server.

https://spec.matrix.org/v1.19/server-server-api/#published-room-directory
"""

from __future__ import annotations

from pydantic import Field

from tricord.clients.api.directory import DirectoryFilter, PublicRoomsPage
from tricord.clients.endpoint import Authentication, Endpoint, Model


class GetPublicRooms(Endpoint):
    """Read the directory.

    https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1publicrooms
    """

    method = "GET"
    path = "/_matrix/federation/v1/publicRooms"
    authentication = Authentication.SIGNED_REQUEST
    hot = True
    body_kind = "none"
    Response = PublicRoomsPage

    class Query(Model):
        """Which page."""

        limit: int | None = Field(None, ge=0)
        since: str | None = None
        include_all_networks: bool = False
        third_party_instance_id: str | None = None


class SearchPublicRooms(Endpoint):
    """Search the directory.

    https://spec.matrix.org/v1.19/server-server-api/#post_matrixfederationv1publicrooms
    """

    method = "POST"
    path = "/_matrix/federation/v1/publicRooms"
    authentication = Authentication.SIGNED_REQUEST
    hot = True
    Response = PublicRoomsPage

    class Body(Model):
        """What to look for, and which page."""

        limit: int | None = Field(None, ge=0)
        since: str | None = None
        filter: DirectoryFilter = Field(default_factory=DirectoryFilter)
        include_all_networks: bool = False
        third_party_instance_id: str | None = None
