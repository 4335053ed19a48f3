"""How rooms are found: aliases, and the published room directory.

https://spec.matrix.org/v1.19/client-server-api/#room-aliases
https://spec.matrix.org/v1.19/client-server-api/#published-room-directory
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tricord.clients.endpoint import Authentication, Endpoint, Model
from tricord.protocol.identifiers import RoomAlias, RoomId, ServerName

Visibility = Literal["public", "private"]


class SetAlias(Endpoint):
    """Give a room another alias.

    https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3directoryroomroomalias
    """

    method = "PUT"
    path = "/_matrix/client/v3/directory/room/{room_alias}"
    suspended_users_too = False

    class Body(Model):
        """The room it stands for."""

        room_id: RoomId


class ResolveAlias(Endpoint):
    """Ask which room an alias stands for.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3directoryroomroomalias
    """

    method = "GET"
    path = "/_matrix/client/v3/directory/room/{room_alias}"
    authentication = Authentication.NONE
    hot = True

    class Response(Model):
        """The room, and servers that are in it."""

        room_id: RoomId
        servers: list[ServerName]


class DeleteAlias(Endpoint):
    """Take an alias away.

    https://spec.matrix.org/v1.19/client-server-api/#delete_matrixclientv3directoryroomroomalias
    """

    method = "DELETE"
    path = "/_matrix/client/v3/directory/room/{room_alias}"
    suspended_users_too = False


class GetAliases(Endpoint):
    """List the aliases that this server keeps for a room.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidaliases
    """

    method = "GET"
    path = "/_matrix/client/v3/rooms/{room_id}/aliases"
    also = ("/_matrix/client/unstable/org.matrix.msc2432/rooms/{room_id}/aliases",)
    hot = True

    class Response(Model):
        """The local aliases."""

        aliases: list[RoomAlias]


class GetVisibility(Endpoint):
    """Ask whether a room is in the published directory.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3directorylistroomroomid
    """

    method = "GET"
    path = "/_matrix/client/v3/directory/list/room/{room_id}"
    authentication = Authentication.NONE
    hot = True

    class Response(Model):
        """Whether it is."""

        visibility: Visibility


class SetVisibility(Endpoint):
    """Put a room into the published directory, or take it out.

    https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3directorylistroomroomid
    """

    method = "PUT"
    path = "/_matrix/client/v3/directory/list/room/{room_id}"
    suspended_users_too = False

    class Body(Model):
        """In or out."""

        visibility: Visibility = "public"


class PublicRoom(Model):
    """What the directory says of a room."""

    room_id: RoomId
    num_joined_members: int
    world_readable: bool
    guest_can_join: bool
    name: str | None = None
    topic: str | None = None
    canonical_alias: str | None = None
    avatar_url: str | None = None
    join_rule: str | None = None
    room_type: str | None = None


class PublicRoomsPage(Model):
    """A page of the directory."""

    chunk: list[PublicRoom]
    next_batch: str | None = None
    prev_batch: str | None = None
    total_room_count_estimate: int | None = None


class GetPublicRooms(Endpoint):
    """Read the published directory.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3publicrooms
    """

    method = "GET"
    path = "/_matrix/client/v3/publicRooms"
    authentication = Authentication.OPTIONAL
    hot = True

    class Query(Model):
        """Which page, of which server."""

        limit: int | None = None
        since: str | None = None
        server: str | None = None

    Response = PublicRoomsPage


class DirectoryFilter(Model):
    """What rooms to look for."""

    generic_search_term: str | None = None
    room_types: list[str | None] | None = None


class SearchPublicRooms(Endpoint):
    """Search the published directory.

    https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3publicrooms
    """

    method = "POST"
    path = "/_matrix/client/v3/publicRooms"
    hot = True

    class Query(Model):
        """Whose directory."""

        server: str | None = None

    class Body(Model):
        """What to look for, and which page."""

        limit: int | None = None
        since: str | None = None
        filter: DirectoryFilter = Field(default_factory=DirectoryFilter)
        include_all_networks: bool = False
        third_party_instance_id: str | None = None

    Response = PublicRoomsPage
