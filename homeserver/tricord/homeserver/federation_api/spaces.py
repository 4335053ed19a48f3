"""Routes of what is in spaces, for other servers."""

from __future__ import annotations

from typing import Any

from tricord.clients.api.spaces import HierarchyRoom
from tricord.federation.api.spaces import GetHierarchy
from tricord.homeserver.rooms.previews import Previews
from tricord.homeserver.serving.call import Call, Route
from tricord.protocol.errors import NotFound
from tricord.protocol.identifiers import parse_room_id
from tricord.protocol.strict_json import JsonObject

# The asking server learns of all children by their ids, and can ask for each of the others.
_MOST_CHILDREN = 100


class FederationSpacesApi:
    """`GET /hierarchy/{room_id}`."""

    def __init__(self, previews: Previews) -> None:
        self._previews = previews

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [Route(GetHierarchy, self.hierarchy)]

    async def hierarchy(self, call: Call[Any, GetHierarchy.Query]) -> JsonObject:
        """Show a room, and the rooms directly in it."""
        room_id, suggested_only = parse_room_id(call.path["room_id"]), call.query.suggested_only
        found = await self._previews.of_rooms([room_id], suggested_only=suggested_only)
        if not await self._previews.visible_to_server(call.origin, found):
            raise NotFound(f"there is no room {room_id} that {call.origin} can look at")
        children = found[room_id].children
        named = [child.room_id for child in children[:_MOST_CHILDREN]]
        of_children = await self._previews.of_rooms(named, suggested_only=suggested_only)
        visible = await self._previews.visible_to_server(call.origin, of_children)
        room = HierarchyRoom(
            **found[room_id].summary.model_dump(), children_state=[child.stripped for child in children]
        )
        return {
            "room": room.model_dump(exclude_none=True),
            "children": [
                of_children[child_id].summary.model_dump(exclude_none=True) for child_id in named if child_id in visible
            ],
            "inaccessible_children": [
                child_id for child_id in named if child_id in of_children and child_id not in visible
            ],
        }
