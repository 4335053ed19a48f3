"""The kinds of values that messages between servers are made of, checked as far as their form goes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, InstanceOf

from tricord.clients.endpoint import Model
from tricord.protocol.errors import MatrixError
from tricord.protocol.identifiers import (
    EventId,
    RoomAlias,
    RoomId,
    ServerName,
    UserId,
    parse_event_id,
    parse_room_alias,
    parse_room_id,
    parse_server_name,
    parse_user_id,
)

T = TypeVar("T")


def _as(parse: Callable[[str], T]) -> AfterValidator:
    def parsed(text: str) -> T:
        try:
            return parse(text)
        except MatrixError as error:
            raise ValueError(error.message) from error

    return AfterValidator(parsed)


AnEventId = Annotated[EventId, _as(parse_event_id)]
ARoomId = Annotated[RoomId, _as(parse_room_id)]
ARoomAlias = Annotated[RoomAlias, _as(parse_room_alias)]
AServerName = Annotated[ServerName, _as(parse_server_name)]
AUserId = Annotated[UserId, _as(parse_user_id)]

# An event as it came. Only that it is an object is asked here, since one that is no event must not harm the others.
Pdu = InstanceOf[dict[str, Any]]


class Nothing(Model):
    """An object whose keys mean nothing."""
