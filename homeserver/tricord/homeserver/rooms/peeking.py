"""Looking into rooms without being in them, and following them.

https://spec.matrix.org/v1.19/client-server-api/#room-previews

Who is not in a room sees what `visibility.py` lets them see: events of times when all the world could read it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from tricord.homeserver.rooms.client_events import ClientEvents
from tricord.homeserver.rooms.directory import Directory
from tricord.homeserver.rooms.history import History, PageRequest
from tricord.homeserver.rooms.memberships import Memberships
from tricord.homeserver.rooms.state_view import StateView
from tricord.homeserver.rooms.timeline import Direction, Timeline
from tricord.homeserver.rooms.visibility import Visibility
from tricord.homeserver.serving.call import Requester
from tricord.homeserver.stream.publisher import Publisher
from tricord.homeserver.stream.tokens import decode_token, encode_token
from tricord.protocol.errors import GuestAccessForbidden, NotFound
from tricord.protocol.event_filters import RoomEventFilter
from tricord.protocol.identifiers import EventId, RoomId, UserId
from tricord.protocol.strict_json import JsonObject

_MOST_EVENTS = 100
_LONGEST_SECONDS = 60

RoomAccountData = Callable[[UserId, RoomId], Awaitable[list[JsonObject]]]


class Peeking:
    """Shows rooms to those who look in."""

    def __init__(
        self,
        history: History,
        state_view: StateView,
        timeline: Timeline,
        visibility: Visibility,
        client_events: ClientEvents,
        memberships: Memberships,
        directory: Directory,
        publisher: Publisher,
        account_data: RoomAccountData,
    ) -> None:
        self._history = history
        self._state_view = state_view
        self._timeline = timeline
        self._visibility = visibility
        self._client_events = client_events
        self._memberships = memberships
        self._directory = directory
        self._publisher = publisher
        self._account_data = account_data

    async def room(self, requester: Requester, room_id: RoomId, limit: int) -> JsonObject:
        """Return the state of a room and its newest events, oldest first."""
        request = PageRequest(Direction.BACKWARD, None, None, min(limit, _MOST_EVENTS), RoomEventFilter())
        page = await self._history.page(requester, room_id, request)
        now = await self._memberships.membership(requester.user_id, room_id)
        found: JsonObject = {
            "room_id": room_id,
            "messages": {
                "start": page.get("end", page["start"]),
                "end": page["start"],
                "chunk": list(reversed(page["chunk"])),
            },
            "state": await self._state_view.everything(requester, room_id),
            "visibility": "public" if await self._directory.is_published(room_id) else "private",
            "account_data": await self._account_data(requester.user_id, room_id),
        }
        if now is not None and not now.forgotten:
            found["membership"] = now.membership
        return found

    async def event(self, requester: Requester, event_id: EventId) -> object:
        """Return an event, whichever room it is of."""
        stored = await self._timeline.event(event_id)
        if stored is None:
            raise NotFound(f"there is no event {event_id} that {requester.user_id} can see")
        return await self._history.event(requester, stored.event.room_id, event_id)

    async def follow(
        self, requester: Requester, room_id: RoomId | None, start: str | None, timeout_seconds: float
    ) -> JsonObject:
        """Return what happened in a room that may be read, or in all that the requester is in, once something has."""
        if room_id is None and requester.is_guest:
            raise GuestAccessForbidden("guests follow single rooms: give a `room_id`")
        since = self._publisher.position if start is None else decode_token(start)
        end, deadline = since, trio.current_time() + min(timeout_seconds, _LONGEST_SECONDS)
        with self._publisher.subscribe(requester.user_id, await self._rooms(requester, room_id)) as subscription:
            while True:
                chunk, end = await self._news(requester, subscription.rooms, end)
                if chunk or trio.current_time() >= deadline:
                    return {"start": encode_token(since), "end": encode_token(end), "chunk": chunk}
                with trio.move_on_at(deadline):
                    await subscription.wait()
                subscription.rooms = await self._rooms(requester, room_id)

    async def _rooms(self, requester: Requester, room_id: RoomId | None) -> frozenset[RoomId]:
        if room_id is None:
            return await self._memberships.joined_rooms(requester.user_id)
        await self._visibility.check_may_read_now(requester.user_id, room_id)
        return frozenset((room_id,))

    async def _news(self, requester: Requester, rooms: frozenset[RoomId], since: int) -> tuple[list[object], int]:
        """Return what happened in some rooms, and up to where; of a room where very much did, the newest."""
        upto = self._publisher.position
        if since >= upto:
            return [], since
        found = await self._timeline.recent_in_rooms(dict.fromkeys(rooms, since), upto=upto, limit=_MOST_EVENTS)
        events = sorted((stored for one in found.values() for stored in one.events), key=lambda one: one.place)
        seen = await self._visibility.seen(requester.user_id, events)
        return list(await self._client_events.seen(requester, seen)), upto
