"""Searching what was said.

https://spec.matrix.org/v1.19/client-server-api/#server-side-search
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from tricord.clients.endpoint import Endpoint, Model

Key = Literal["content.body", "content.name", "content.topic"]
Order = Literal["rank", "recent"]
GroupKey = Literal["room_id", "sender"]


class EventContext(Model):
    """What to tell of what was around each result."""

    before_limit: int = Field(5, ge=0)
    after_limit: int = Field(5, ge=0)
    include_profile: bool = False


class Group(Model):
    """By what to group."""

    key: GroupKey


class Groupings(Model):
    """How to group."""

    group_by: list[Group] = Field([], max_length=8)


class RoomEvents(Model):
    """What to look for among events."""

    search_term: str = Field(max_length=4096)
    keys: list[Key] | None = Field(None, max_length=16)
    filter: dict[str, Any] | None = None
    order_by: Order = "rank"
    event_context: EventContext | None = None
    include_state: bool = False
    groupings: Groupings = Field(default_factory=Groupings)


class Categories(Model):
    """What to look for, by kind."""

    room_events: RoomEvents | None = None


class SearchEvents(Endpoint):
    """Search what was said in rooms that one is or was in.

    https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3search
    """

    method = "POST"
    path = "/_matrix/client/v3/search"
    hot = True

    class Query(Model):
        """Where to go on."""

        next_batch: str | None = None

    class Body(Model):
        """What to look for."""

        search_categories: Categories

    class Response(Model):
        """What was found, by kind."""

        search_categories: dict[str, Any]
