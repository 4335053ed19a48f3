"""What relates to an event: reactions, edits, threads, references.

https://spec.matrix.org/v1.19/client-server-api/#relationships-api
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from tricord.clients.api.messages import Direction
from tricord.clients.endpoint import Endpoint, Model


class RelationsQuery(Model):
    """From where, in which direction, how much, and whether to follow relations of relations."""

    from_: str | None = Field(None, alias="from")
    to: str | None = None
    limit: int = 20
    dir: Direction = "b"
    recurse: bool | None = None


class RelationsPage(Model):
    """A page of what relates to the event."""

    chunk: list[Any]
    next_batch: str | None = None
    prev_batch: str | None = None
    recursion_depth: int | None = None


class GetRelations(Endpoint):
    """Read all that relates to an event.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1roomsroomidrelationseventid
    """

    method = "GET"
    path = "/_matrix/client/v1/rooms/{room_id}/relations/{event_id}"
    hot = True
    Query = RelationsQuery
    Response = RelationsPage


class GetRelationsOfKind(Endpoint):
    """Read what relates to an event in one way.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1roomsroomidrelationseventidreltype
    """

    method = "GET"
    path = "/_matrix/client/v1/rooms/{room_id}/relations/{event_id}/{rel_type}"
    hot = True
    Query = RelationsQuery
    Response = RelationsPage


class GetRelationsOfKindAndType(Endpoint):
    """Read events of one type that relate to an event in one way.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1roomsroomidrelationseventidreltypeeventtype
    """

    method = "GET"
    path = "/_matrix/client/v1/rooms/{room_id}/relations/{event_id}/{rel_type}/{event_type}"
    hot = True
    Query = RelationsQuery
    Response = RelationsPage
