"""What rooms are, for those who think of joining: a summary of one, and the rooms of a space.

https://spec.matrix.org/v1.19/client-server-api/#spaces
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from tricord.clients.api.directory import PublicRoom
from tricord.clients.endpoint import Authentication, Endpoint, Model
from tricord.protocol.identifiers import RoomId, ServerName


class RoomSummary(PublicRoom):
    """What may be said of a room in few words, and how one gets in."""

    allowed_room_ids: list[RoomId] | None = None
    encryption: str | None = None
    room_version: str | None = None


class GetRoomSummary(Endpoint):
    """Ask what a room is.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1room_summaryroomidoralias
    """

    method = "GET"
    path = "/_matrix/client/v1/room_summary/{room_id_or_alias}"
    also = (
        "/_matrix/client/unstable/im.nheko.summary/summary/{room_id_or_alias}",
        "/_matrix/client/unstable/im.nheko.summary/rooms/{room_id_or_alias}/summary",
    )
    authentication = Authentication.OPTIONAL
    hot = True

    class Query(Model):
        """Servers that are said to know the room."""

        via: list[ServerName] = Field(default_factory=list)

    class Response(RoomSummary):
        """The room, and what the requester is to it."""

        membership: str | None = None


class HierarchyRoom(RoomSummary):
    """A room of a space; if it is a space itself, with its own rooms."""

    children_state: list[dict[str, Any]]


class GetHierarchy(Endpoint):
    """Walk through a space and the spaces in it, depth first.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1roomsroomidhierarchy
    """

    method = "GET"
    path = "/_matrix/client/v1/rooms/{room_id}/hierarchy"
    hot = True

    class Query(Model):
        """Which rooms, and from where to go on."""

        suggested_only: bool = False
        limit: int | None = Field(None, ge=1)
        max_depth: int | None = Field(None, ge=0)
        from_: str | None = Field(None, alias="from")

    class Response(Model):
        """Some rooms, and from where to go on if there are more."""

        rooms: list[HierarchyRoom]
        next_batch: str | None = None
