"""Routes of a room's state and members."""

from __future__ import annotations

from typing import Any

import orjson

from tricord.clients.api.rooms import GetFullState, GetJoinedMembers, GetMembers, GetState, SetState
from tricord.homeserver.client_api.delayed_events import wanted_delay
from tricord.homeserver.rooms.delayed_events import DelayedEvents
from tricord.homeserver.rooms.send import Sending
from tricord.homeserver.rooms.state_view import StateView
from tricord.homeserver.serving.call import Answer, Call, Route
from tricord.homeserver.stream.tokens import decode_place
from tricord.protocol.identifiers import parse_room_id
from tricord.protocol.strict_json import JsonObject


class RoomsApi:
    """Setting and reading state."""

    def __init__(self, sending: Sending, delayed: DelayedEvents, state_view: StateView) -> None:
        self._sending = sending
        self._delayed = delayed
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

    async def set_state(self, call: Call[JsonObject, Any]) -> SetState.Response | JsonObject:
        """Set a piece of state."""
        path = call.path
        room_id, event_type, state_key = parse_room_id(path["room_id"]), path["event_type"], path.get("state_key", "")
        if (delay := wanted_delay(call)) is not None:
            delay_id = await self._delayed.schedule(
                call.requester, room_id, event_type, state_key, call.body, delay_ms=delay
            )
            return {"delay_id": delay_id}
        event_id = await self._sending.set_state(call.requester, room_id, event_type, state_key, call.body)
        return SetState.Response(event_id=event_id)

    async def state(self, call: Call[Any, GetState.Query]) -> Answer:
        """Read a piece of state."""
        path = call.path
        room_id, key = parse_room_id(path["room_id"]), (path["event_type"], path.get("state_key", ""))
        if call.query.format == "event":
            return Answer(orjson.dumps(await self._state_view.event(call.requester, room_id, key)))
        return Answer(await self._state_view.content(call.requester, room_id, key))

    async def full_state(self, call: Call[Any, Any]) -> Answer:
        """Read the whole state."""
        events = await self._state_view.everything(call.requester, parse_room_id(call.path["room_id"]))
        return Answer(orjson.dumps(events))

    async def members(self, call: Call[Any, GetMembers.Query]) -> JsonObject:
        """List member events."""
        wanted = call.query
        members = await self._state_view.members(
            call.requester,
            parse_room_id(call.path["room_id"]),
            at=None if wanted.at is None else decode_place(wanted.at),
            membership=wanted.membership,
            not_membership=wanted.not_membership,
        )
        return {"chunk": members}

    async def joined_members(self, call: Call[Any, Any]) -> JsonObject:
        """Map the joined members to their profiles."""
        room_id = parse_room_id(call.path["room_id"])
        return {"joined": await self._state_view.joined_members(call.requester, room_id)}
