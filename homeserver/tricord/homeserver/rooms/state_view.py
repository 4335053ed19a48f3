"""The state of a room as somebody may see it: now, or as it was when they left."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import orjson

from tricord.homeserver.rooms.client_events import ClientEvents
from tricord.homeserver.rooms.partial_rooms import PartialRooms
from tricord.homeserver.rooms.state import RoomState
from tricord.homeserver.rooms.stored_event import StateKey, StoredEvent
from tricord.homeserver.rooms.timeline import Direction, Timeline
from tricord.homeserver.rooms.visibility import Visibility
from tricord.homeserver.serving.call import Requester
from tricord.homeserver.stream.tokens import Place
from tricord.protocol.errors import Forbidden, NotFound
from tricord.protocol.identifiers import RoomId, UserId
from tricord.protocol.strict_json import JsonObject

_MEMBER = "m.room.member"


class StateView:
    """Answers what the state of a room is, to those who may know.

    SQL: what the reader's leave to read takes (none for members), and one look at the state.
    """

    def __init__(
        self,
        state: RoomState,
        timeline: Timeline,
        visibility: Visibility,
        client_events: ClientEvents,
        partial_rooms: PartialRooms,
    ) -> None:
        self._state = state
        self._timeline = timeline
        self._visibility = visibility
        self._client_events = client_events
        self._partial_rooms = partial_rooms

    async def content(self, requester: Requester, room_id: RoomId, key: StateKey) -> JsonObject:
        """Return the content of a piece of state."""
        return (await self._one(requester, room_id, key)).event.content

    async def event(self, requester: Requester, room_id: RoomId, key: StateKey) -> orjson.Fragment:
        """Return the event that set a piece of state."""
        stored = await self._one(requester, room_id, key)
        return (await self._client_events.state(requester, [stored]))[0]

    async def everything(self, requester: Requester, room_id: RoomId) -> list[orjson.Fragment]:
        """Return all state events."""
        reading = await self._visibility.reading(requester.user_id, room_id)
        await self._partial_rooms.until_complete(room_id)
        if reading.left is None:
            state = await self._state.current_all(room_id)
        else:
            state = await self._state.all_at(reading.left)
        return await self._client_events.state(requester, list(state.values()))

    async def members(
        self,
        requester: Requester,
        room_id: RoomId,
        *,
        at: Place | None,
        membership: str | None,
        not_membership: str | None,
    ) -> list[orjson.Fragment]:
        """Return the member events, of now or of another time, that are one kind or not another."""
        wanted = []
        for stored in await self._members(requester.user_id, room_id, at):
            kind = stored.event.content.get("membership")
            if (
                (membership is None and not_membership is None)
                or (membership is not None and kind == membership)
                or (not_membership is not None and kind != not_membership)
            ):
                wanted.append(stored)
        return await self._client_events.state(requester, wanted)

    async def joined_members(self, requester: Requester, room_id: RoomId) -> dict[str, JsonObject]:
        """Map the joined members to their names and pictures; only for them."""
        await self._partial_rooms.until_complete(room_id)
        members = await self._state.current_of_types(room_id, [_MEMBER])
        if requester.user_id not in (joined := _profiles_of_joined(members.values())):
            raise Forbidden(f"{requester.user_id} is not in {room_id}")
        return joined

    async def _one(self, requester: Requester, room_id: RoomId, key: StateKey) -> StoredEvent:
        reading = await self._visibility.reading(requester.user_id, room_id)
        if reading.left is None:
            state = await self._state.current(room_id, [key])
            if key[0] == _MEMBER and key not in state:
                await self._partial_rooms.until_complete(room_id)
                state = await self._state.current(room_id, [key])
        else:
            state = await self._state.at(reading.left, [key])
        if key not in state:
            raise NotFound(f"{room_id} has no state {key[0]} with the key {key[1]!r}")
        return state[key]

    async def _members(self, user_id: UserId, room_id: RoomId, at: Place | None) -> list[StoredEvent]:
        reading = await self._visibility.reading(user_id, room_id)
        await self._partial_rooms.until_complete(room_id)
        then = reading.left
        if at is not None and (then is None or at < then.place):
            page = await self._timeline.page(room_id, at, None, Direction.BACKWARD, 1)
            then = page.events[0] if page.events else None
            # Of a time they cannot see they learn nothing; what they were told since then includes it anyway.
            if then is None or not await self._visibility.visible(user_id, [then]):
                raise NotFound(f"there is nothing of {room_id} to see at that time")
        if then is None:
            return list((await self._state.current_of_types(room_id, [_MEMBER])).values())
        return [stored for (kind, _), stored in (await self._state.all_at(then)).items() if kind == _MEMBER]


def _profiles_of_joined(members: Collection[StoredEvent]) -> dict[str, JsonObject]:
    joined: dict[str, JsonObject] = {}
    for stored in members:
        content: dict[str, Any] = stored.event.content
        if content.get("membership") == "join" and stored.event.state_key is not None:
            profile = joined[stored.event.state_key] = {}
            if isinstance(name := content.get("displayname"), str):
                profile["display_name"] = name
            if isinstance(avatar := content.get("avatar_url"), str):
                profile["avatar_url"] = avatar
    return joined
