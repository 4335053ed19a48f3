"""The threads of a room.

https://spec.matrix.org/v1.19/client-server-api/#querying-threads-in-a-room
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from tricord.clients.endpoint import Endpoint, Model

Include = Literal["all", "participated"]


class ThreadUpdate(Model):
    """A thread in which something is new."""

    thread_root: dict[str, Any] | None = None
    prev_batch: str | None = None


class GetThreads(Endpoint):
    """Read the roots of a room's threads, those with the newest events first.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1roomsroomidthreads
    """

    method = "GET"
    path = "/_matrix/client/v1/rooms/{room_id}/threads"
    hot = True

    class Query(Model):
        """Whose threads, from where, and how many."""

        include: Include = "all"
        from_: str | None = Field(None, alias="from")
        limit: int = Field(20, ge=1)

    class Response(Model):
        """A page of thread roots."""

        chunk: list[Any]
        next_batch: str | None = None


class GetThreadUpdates(Endpoint):
    """Read in which threads of all one's rooms something is new, those with the newest events first.

    https://github.com/matrix-org/matrix-spec-proposals/pull/4360
    """

    method = "GET"
    path = "/_matrix/client/unstable/io.element.msc4360/thread_updates"
    hot = True

    class Query(Model):
        """From where back to where, and how many."""

        dir: Literal["b"] = "b"
        from_: str | None = Field(None, alias="from")
        to: str | None = None
        limit: int = Field(100, ge=1)
        include_roots: bool = False

    class Response(Model):
        """A page of threads, by room and root."""

        chunk: dict[str, dict[str, ThreadUpdate]]
        next_batch: str | None = None
