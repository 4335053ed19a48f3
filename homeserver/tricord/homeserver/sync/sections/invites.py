"""Invitations and knocks: the little of a room's state that lets somebody outside of it see what it is.

For a room of ours it is taken from the state at the invitation; another server sends it along with the invitation.
https://spec.matrix.org/v1.19/client-server-api/#stripped-state
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import orjson
import structlog

from tricord.homeserver.rooms.preferences import Preferences
from tricord.homeserver.rooms.state import RoomState
from tricord.homeserver.rooms.stored_event import StateKey, StoredEvent
from tricord.homeserver.rooms.stripped_state import SHOWN
from tricord.homeserver.rooms.timeline import Timeline
from tricord.homeserver.sync.delta import Json
from tricord.protocol.identifiers import EventId, RoomId, UserId

_MOST_TOLD = 50
_MOST_BYTES = 100_000

_logger = structlog.get_logger(__name__)


class InviteSection:
    """Reads stripped state."""

    def __init__(self, timeline: Timeline, state: RoomState, preferences: Preferences) -> None:
        self._timeline = timeline
        self._state = state
        self._preferences = preferences

    async def stripped_state(
        self, rooms: Collection[tuple[RoomId, EventId]], ignored: frozenset[UserId]
    ) -> dict[RoomId, tuple[Json, ...]]:
        """Return what may be told of rooms by the member events that invite into them, or knock on them.

        Who accepts no invitations is not told of those that are there already either.
        https://spec.matrix.org/v1.19/client-server-api/#invite-permission
        """
        events = await self._timeline.events([event_id for _, event_id in rooms])
        invited = {UserId(one.event.state_key or "") for one in events.values() if _is_invitation(one)}
        blocking = await self._preferences.blocking_invites(list(invited)) if invited else frozenset()
        told: dict[RoomId, tuple[Json, ...]] = {}
        for room_id, event_id in rooms:
            member = events.get(event_id)
            if member is None or member.event.sender in ignored:
                continue
            if _is_invitation(member) and member.event.state_key in blocking:
                continue
            try:
                told[room_id] = (*await self._room_state(member), _own_event(member))
            except Exception:
                _logger.exception("an invitation is left out of a sync", room_id=room_id)
        return told

    async def _room_state(self, member: StoredEvent) -> tuple[Json, ...]:
        for sent_along in ("invite_room_state", "knock_room_state"):
            events = member.event.unsigned.get(sent_along)
            if isinstance(events, list):
                return _checked(events, member)
        keys: list[StateKey] = [(event_type, "") for event_type in SHOWN]
        keys.append(("m.room.member", member.event.sender))
        state = await self._state.at(member, keys)
        return tuple(
            _stripped(stored.event.type, stored.event.state_key, stored.event.sender, stored.event.content)
            for stored in state.values()
            if stored.nid != member.nid
        )


def _is_invitation(member: StoredEvent) -> bool:
    return member.event.content.get("membership") == "invite"


def _checked(events: list[Any], member: StoredEvent) -> tuple[Json, ...]:
    """Return what another server sent along, as far as it has the right form; it is not told what it must not claim."""
    told: list[Json] = []
    size = 0
    for event in events[:_MOST_TOLD]:
        match event:
            case {
                "type": str(event_type),
                "state_key": str(state_key),
                "sender": str(sender),
                "content": dict(content),
            }:
                if (event_type, state_key) == member.key:
                    continue
                stripped = _stripped(event_type, state_key, sender, content)
                size += len(stripped)
                if size > _MOST_BYTES:
                    break
                told.append(stripped)
    return tuple(told)


def _stripped(event_type: str, state_key: str | None, sender: str, content: Any) -> Json:
    return orjson.dumps({"type": event_type, "state_key": state_key, "sender": sender, "content": content})


def _own_event(member: StoredEvent) -> Json:
    event = member.event
    return orjson.dumps(
        {
            "type": event.type,
            "state_key": event.state_key,
            "sender": event.sender,
            "content": event.content,
            "event_id": event.event_id,
            "origin_server_ts": event.origin_server_ts,
        }
    )
