"""Another server, as far as it makes events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.homeserver.rooms.house import House
from tricord.homeserver.rooms.stored_event import StoredEvent
from tricord.protocol.authorization import auth_event_keys
from tricord.protocol.events import Event, VerifiedEvent, build_event
from tricord.protocol.identifiers import EventId, RoomId, ServerName, UserId
from tricord.protocol.signing import SigningKey

ELSEWHERE = ServerName("elsewhere.test")
ELSEWHERE_KEY = SigningKey.generate()
ZOE, YAN = (UserId(f"@{name}:{ELSEWHERE}") for name in ("zoe", "yan"))


class Foreign:
    """Makes events of another server on top of a room that the house knows."""

    def __init__(self, house: House, room_id: RoomId) -> None:
        self._house = house
        self._room_id = room_id
        self._ts = 1_700_000_100_000

    async def latest(self) -> list[Event]:
        """Return the ends of the room as the house has them."""
        room = await self._house.rooms.room(self._room_id)
        assert room is not None
        stored = [await self._house.timeline.event(end.event_id) for end in room.extremities]
        return [one.event for one in stored if one is not None]

    async def event(
        self,
        sender: UserId,
        event_type: str,
        content: dict[str, Any],
        *,
        state_key: str | None = None,
        after: Sequence[Event] | None = None,
        state: dict[tuple[str, str], Event] | None = None,
        redacts: EventId | None = None,
    ) -> VerifiedEvent:
        """Make an event after some others; `state` overrides what it names as its auth events."""
        room = await self._house.rooms.room(self._room_id)
        assert room is not None
        previous = await self.latest() if after is None else after
        keys = auth_event_keys(event_type, sender, state_key, content, room.version)
        current: dict[tuple[str, str], Event] = {
            key: stored.event for key, stored in (await self._house.state.current(self._room_id, keys)).items()
        }
        current |= {key: event for key, event in (state or {}).items() if key in keys}
        self._ts += 1
        return build_event(
            version=room.version,
            room_id=self._room_id,
            sender=sender,
            type=event_type,
            state_key=state_key,
            content=content,
            origin_server_ts=self._ts,
            depth=max(event.depth for event in previous) + 1,
            prev_events=[event.event_id for event in previous],
            auth_events=[event.event_id for event in current.values()],
            redacts=redacts,
            server_name=ELSEWHERE,
            key=ELSEWHERE_KEY,
        )

    async def says(self, sender: UserId, body: str, **options: Any) -> VerifiedEvent:
        """Make a message."""
        return await self.event(sender, "m.room.message", {"msgtype": "m.text", "body": body}, **options)

    async def joins(self, user_id: UserId, **options: Any) -> VerifiedEvent:
        """Make somebody's join."""
        return await self.event(user_id, "m.room.member", {"membership": "join"}, state_key=user_id, **options)

    def known_as(self, stored: StoredEvent) -> Event:
        """Return an event of the house."""
        return stored.event
