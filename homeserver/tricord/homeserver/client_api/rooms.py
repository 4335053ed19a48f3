"""Routes of a room's state and members."""

from __future__ import annotations

from typing import Any

import orjson

from tricord.clients.api.rooms import GetFullState, GetJoinedMembers, GetMembers, GetState, SetState
from tricord.homeserver.rooms.send import Sending
from tricord.homeserver.rooms.state_view import StateView
from tricord.homeserver.serving.call import Answer, Call, Route
from tricord.protocol.identifiers import parse_room_id
from tricord.protocol.strict_json import JsonObject


class RoomsApi:
    """Setting and reading state."""

    def __init__(self, sending: Sending, state_view: StateView) -> None:
        self._sending = sending
        self._state_view = state_view

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route(SetState, self.set_state),
            Route(GetState, self.state),
            Route(GetFullState, self.full_state),
            Route(GetMembers, self.members),
            Route(GetJoinedMembers, self.joined_members),
        ]

    async def set_state(self, call: Call[JsonObject, Any]) -> SetState.Response:
        """Set a piece of state."""
        path = call.path
        event_id = await self._sending.set_state(
            call.requester,
            parse_room_id(path["room_id"]),
            path["event_type"],
            path.get("state_key", ""),
            call.body,
        )
        return SetState.Response(event_id=event_id)

    async def state(self, call: Call[Any, GetState.Query]) -> JsonObject:
        """Read a piece of state."""
        path = call.path
        return await self._state_view.one(
            call.requester,
            parse_room_id(path["room_id"]),
            path["event_type"],
            path.get("state_key", ""),
            whole_event=call.query.format == "event",
        )

    async def full_state(self, call: Call[Any, Any]) -> Answer:
        """Read the whole state."""
        events = await self._state_view.all(call.requester, parse_room_id(call.path["room_id"]))
        return Answer(orjson.dumps(events))

    async def members(self, call: Call[Any, GetMembers.Query]) -> JsonObject:
        """List member events."""
        room_id, wanted = parse_room_id(call.path["room_id"]), call.query
        return {"chunk": await self._state_view.members(call.requester, room_id, wanted)}

    async def joined_members(self, call: Call[Any, Any]) -> JsonObject:
        """Map the joined members to their profiles."""
        room_id = parse_room_id(call.path["room_id"])
        return {"joined": await self._state_view.joined_members(call.requester, room_id)}
