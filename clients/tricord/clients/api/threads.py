"""The threads of a room.

https://spec.matrix.org/v1.19/client-server-api/#querying-threads-in-a-room
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from tricord.clients.endpoint import Endpoint, Model

Include = Literal["all", "participated"]


class GetThreads(Endpoint):
    """Read the roots of a room's threads, those with the newest events first.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1roomsroomidthreads
    """

    method = "GET"
    path = "/_matrix/client/v1/rooms/{room_id}/threads"

    class Query(Model):
        """Whose threads, from where, and how many."""

        include: Include = "all"
        from_: str | None = Field(None, alias="from")
        limit: int = Field(20, ge=1)

    class Response(Model):
        """A page of thread roots."""

        chunk: list[Any]
        next_batch: str | None = None
