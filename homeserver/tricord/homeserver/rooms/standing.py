"""Who stands where in a room now: the part of its current state that decides what people may do.

The log authorizes every event again, against the very state it goes on top of. What is asked here comes before that:
to refuse with better words, and to build the event rightly.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tricord.homeserver.rooms.state import RoomState
from tricord.homeserver.rooms.stored_event import StateKey, StoredEvent
from tricord.protocol.errors import Forbidden, NotFound
from tricord.protocol.identifiers import RoomId, UserId
from tricord.protocol.power_levels import PowerLevels
from tricord.protocol.room_versions import RoomVersion
from tricord.protocol.strict_json import JsonObject

_CREATE: StateKey = ("m.room.create", "")
_POWER_LEVELS: StateKey = ("m.room.power_levels", "")
_JOIN_RULES: StateKey = ("m.room.join_rules", "")


@dataclass(frozen=True, slots=True)
class Standing:
    """A room's version, levels, join rule and some of its members."""

    room_id: RoomId
    state: Mapping[StateKey, StoredEvent]
    power: PowerLevels

    @property
    def version(self) -> RoomVersion:
        """The room's version."""
        return self.state[_CREATE].event.version

    def content(self, event_type: str, state_key: str = "") -> JsonObject:
        """Return the content of a piece of state that was asked for; {} if the room has none."""
        stored = self.state.get((event_type, state_key))
        return {} if stored is None else stored.event.content

    def membership(self, user_id: UserId) -> str | None:
        """Return the membership of a user who was asked for; None if they never had one."""
        return self.content("m.room.member", user_id).get("membership")

    @property
    def join_rule(self) -> str:
        """The rule for joining; without one, invitations are needed."""
        return str(self.content("m.room.join_rules").get("join_rule", "invite"))

    def check_joined(self, user_id: UserId) -> None:
        """Refuse users who are not in the room."""
        if self.membership(user_id) != "join":
            raise Forbidden(f"{user_id} is not in {self.room_id}")

    def check_may_set_state(self, user_id: UserId, event_type: str) -> None:
        """Refuse users who are not in the room, or too low to set this state in it."""
        self.check_joined(user_id)
        level, needed = self.power.of_user(user_id), self.power.needed_for_state(event_type)
        if level < needed:
            raise Forbidden(f"{user_id} has power level {level}, and {event_type} needs {needed}")

    def check_may_ban(self, user_id: UserId) -> None:
        """Refuse users who are not in the room, or too low to ban others from it and to lift bans."""
        self.check_joined(user_id)
        level, needed = self.power.of_user(user_id), self.power.ban
        if level < needed:
            raise Forbidden(f"{user_id} has power level {level}, and bans need {needed}")


async def standing(
    state: RoomState, room_id: RoomId, users: Iterable[UserId] = (), keys: Iterable[StateKey] = ()
) -> Standing:
    """Read what decides, in one look at the current state: the memberships of `users`, and the further `keys`."""
    wanted = [_CREATE, _POWER_LEVELS, _JOIN_RULES, *keys, *(("m.room.member", user_id) for user_id in users)]
    current = await state.current(room_id, wanted)
    if _CREATE not in current:
        raise NotFound(f"there is no room {room_id} on this server")
    levels = current.get(_POWER_LEVELS)
    power = PowerLevels(current[_CREATE].event, None if levels is None else levels.event)
    return Standing(room_id, current, power)
