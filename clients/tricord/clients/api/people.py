"""Finding people.

https://spec.matrix.org/v1.19/client-server-api/#user-directory
"""

from __future__ import annotations

from pydantic import Field

from tricord.clients.endpoint import Endpoint, Model
from tricord.protocol.identifiers import RoomId, UserId


class FoundUser(Model):
    """Somebody who was found."""

    user_id: UserId
    display_name: str | None = None
    avatar_url: str | None = None


class SearchUsers(Endpoint):
    """Search for people by name or user id.

    https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3user_directorysearch
    """

    method = "POST"
    path = "/_matrix/client/v3/user_directory/search"
    hot = True

    class Body(Model):
        """Whom to look for."""

        search_term: str
        limit: int = Field(10, ge=1)

    class Response(Model):
        """Who was found, best first; `limited` if there are more."""

        results: list[FoundUser]
        limited: bool


class GetMutualRooms(Endpoint):
    """Ask which rooms one is in together with somebody.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1mutual_rooms
    """

    method = "GET"
    path = "/_matrix/client/v1/mutual_rooms"
    also = ("/_matrix/client/unstable/uk.half-shot.msc2666/user/mutual_rooms",)

    class Query(Model):
        """With whom, and from where to go on."""

        user_id: UserId
        from_: str | None = Field(None, alias="from")

    class Response(Model):
        """Some of the rooms, how many there are, and from where to go on."""

        joined: list[RoomId]
        count: int
        next_batch: str | None = None
