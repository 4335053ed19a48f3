"""Routes of what relates to an event."""

from __future__ import annotations

from typing import Any

from tricord.clients.api.relations import (
    GetRelations,
    GetRelationsOfKind,
    GetRelationsOfKindAndType,
    RelationsQuery,
)
from tricord.homeserver.rooms.relations import Relations, RelationsRequest
from tricord.homeserver.rooms.timeline import Direction
from tricord.homeserver.serving.call import Call, Route
from tricord.homeserver.stream.tokens import decode_place
from tricord.protocol.identifiers import EventId, parse_room_id
from tricord.protocol.strict_json import JsonObject


class RelationsApi:
    """Reading relations."""

    def __init__(self, relations: Relations) -> None:
        self._relations = relations

    def routes(self) -> list[Route]:
        """Return the routes."""
        endpoints = (GetRelations, GetRelationsOfKind, GetRelationsOfKindAndType)
        return [Route(endpoint, self.relations) for endpoint in endpoints]

    async def relations(self, call: Call[Any, RelationsQuery]) -> JsonObject:
        """Read what relates to an event."""
        path, wanted = call.path, call.query
        request = RelationsRequest(
            rel_type=path.get("rel_type"),
            event_type=path.get("event_type"),
            direction=Direction(wanted.dir),
            start=None if wanted.from_ is None else decode_place(wanted.from_),
            end=None if wanted.to is None else decode_place(wanted.to),
            limit=wanted.limit,
            recurse=wanted.recurse,
        )
        room_id, event_id = parse_room_id(path["room_id"]), EventId(path["event_id"])
        return await self._relations.page(call.requester, room_id, event_id, request)
