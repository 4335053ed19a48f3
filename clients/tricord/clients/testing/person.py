"""Somebody who talks to a bot, in its tests."""

from __future__ import annotations

from typing import Any

from tricord.clients.client import Client
from tricord.clients.events import Message, typed_event
from tricord.clients.timelines import missed_events
from tricord.protocol.identifiers import RoomId, UserId


class Person(Client):
    """A client that waits for what others do. It works on any homeserver."""

    _position: str | None = None
    _unheard: dict[RoomId, list[Message]] | None = None

    async def room_with(self, *user_ids: UserId, **options: Any) -> RoomId:
        """Create a room and invite others, and return it when they have joined; `options` are those of `create_room`.

        What is said before somebody has joined is not said to them: bots leave it unanswered.
        """
        room_id = await self.create_room(invite=user_ids, **options)
        while not set(user_ids) <= set(await self.joined_members(room_id)):
            await self._listen()
        return room_id

    async def hears(self, room_id: RoomId) -> Message:
        """Return the next message of somebody else in the room that we have not heard yet; wait for it if need be.

        Edits count too. Bound the wait yourself: `with trio.fail_after(5)`.
        """
        while True:
            heard = self._heard_in(room_id)
            if heard:
                return heard.pop(0)
            await self._listen()

    def _heard_in(self, room_id: RoomId) -> list[Message]:
        if self._unheard is None:
            self._unheard = {}
        return self._unheard.setdefault(room_id, [])

    async def _listen(self) -> None:
        answer = await self.sync(since=self._position, timeout_seconds=30)
        for room_id, room in ((answer.get("rooms") or {}).get("join") or {}).items():
            timeline: dict[str, Any] = room.get("timeline") or {}
            sources = timeline.get("events") or []
            if timeline.get("limited"):
                sources = await missed_events(self, room_id, timeline.get("prev_batch"), self._position) + sources
            for source in sources:
                event = typed_event(room_id, source, self)
                if isinstance(event, Message) and event.sender != self.user_id:
                    self._heard_in(room_id).append(event)
        self._position = answer["next_batch"]
