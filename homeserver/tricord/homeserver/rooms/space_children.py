"""The rooms that a space says are in it, in the order in which they are shown. Pure rules.

https://spec.matrix.org/v1.19/client-server-api/#mspacechild-relationship
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tricord.homeserver.rooms.stored_event import StoredEvent
from tricord.protocol.errors import MatrixError
from tricord.protocol.identifiers import RoomId, ServerName, parse_room_id, parse_server_name
from tricord.protocol.strict_json import JsonObject

CHILD = "m.space.child"
# "Strings which consist of characters in the range \x20 to \x7E, and of at most 50 of them"
_ORDER = re.compile(r"[\x20-\x7e]{1,50}")
_MOST_SERVERS = 5


@dataclass(frozen=True, slots=True)
class SpaceChild:
    """A room in a space, as the space says."""

    room_id: RoomId
    via: tuple[ServerName, ...]
    suggested: bool
    order: str | None
    origin_server_ts: int
    stripped: JsonObject
    """What others are shown of the event.

    https://spec.matrix.org/v1.19/client-server-api/#stripped-state
    """


def stripped_child(stored: StoredEvent) -> JsonObject:
    """Return the stripped form of an `m.space.child` event."""
    event = stored.event
    return {
        "type": event.type,
        "state_key": event.state_key,
        "content": event.content,
        "sender": event.sender,
        "origin_server_ts": event.origin_server_ts,
    }


def children_of(stripped: Iterable[Any], *, suggested_only: bool = False) -> tuple[SpaceChild, ...]:
    """Return the children that some stripped events name, in order; events that name none are left out."""
    children = [child for one in stripped if (child := _child(one)) is not None]
    return tuple(sorted((child for child in children if child.suggested or not suggested_only), key=_rank))


def _child(stripped: Any) -> SpaceChild | None:
    match stripped:
        case {
            "type": "m.space.child",
            "state_key": str() as room_id,
            "sender": str(),
            "content": {"via": [_, *_] as via, **rest},
            "origin_server_ts": int() as timestamp,
        }:
            try:
                child_id = parse_room_id(room_id)
            except MatrixError:
                return None
            order = rest.get("order")
            return SpaceChild(
                child_id,
                _servers(via),
                rest.get("suggested") is True,
                order if isinstance(order, str) and _ORDER.fullmatch(order) else None,
                timestamp,
                {key: stripped[key] for key in ("type", "state_key", "content", "sender", "origin_server_ts")},
            )
    return None


def _servers(via: Iterable[Any]) -> tuple[ServerName, ...]:
    servers: list[ServerName] = []
    for name in via:
        if len(servers) == _MOST_SERVERS:
            break
        if isinstance(name, str):
            with contextlib.suppress(MatrixError):
                servers.append(parse_server_name(name))
    return tuple(servers)


def _rank(child: SpaceChild) -> tuple[bool, str, int, str]:
    return child.order is None, child.order or "", child.origin_server_ts, child.room_id
