"""Who may do what in a room, by the numbers of `m.room.power_levels` and by having created it.

https://spec.matrix.org/v1.19/client-server-api/#mroompower_levels
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Final

from tricord.protocol.events import Event
from tricord.protocol.identifiers import UserId
from tricord.protocol.room_versions import RoomVersion

Level = int | float
"""An integer, or infinity for those who created a room of a version that sets them above all levels."""

INFINITE: Final = math.inf

DEFAULTS: Final[Mapping[str, int]] = {
    "users_default": 0,
    "events_default": 0,
    "state_default": 50,
    "ban": 50,
    "redact": 50,
    "kick": 50,
    "invite": 0,
}
DEFAULT_NOTIFICATION_LEVEL: Final = 50
CREATOR_WITHOUT_LEVELS: Final = 100

_INTEGER_IN_A_STRING = re.compile(r"\s*[+-]?[0-9]{1,1000}\s*")


def parse_level(value: Any, version: RoomVersion) -> int | None:
    """Return the level that a foreign value stands for in rooms of a version, None if it is no level there."""
    if type(value) is int:
        return value
    if version.integer_power_levels:
        return None
    if type(value) is float and math.isfinite(value):
        return math.trunc(value)
    if type(value) is str and _INTEGER_IN_A_STRING.fullmatch(value):
        return int(value)
    return None


def creators_of(create: Event) -> frozenset[UserId]:
    """Return who created a room: the sender, or whom the create event names instead of or next to the sender."""
    if create.version.create_content_names_creator:
        creator = create.content.get("creator")
        return frozenset({UserId(creator)} if isinstance(creator, str) else ())
    additional = create.content.get("additional_creators") if create.version.creators_have_infinite_power else None
    if not isinstance(additional, list):
        return frozenset({create.sender})
    return frozenset({create.sender, *(UserId(user_id) for user_id in additional if isinstance(user_id, str))})


class PowerLevels:
    """The levels in a room with this create event and this `m.room.power_levels`, if it has one."""

    def __init__(self, create: Event, power_levels: Event | None) -> None:
        self.creators = creators_of(create)
        self._version = create.version
        self._content: Mapping[str, Any] = {} if power_levels is None else power_levels.content
        self._is_set = power_levels is not None

    def of_user(self, user_id: str) -> Level:
        """Return the level of a user."""
        if user_id in self.creators:
            if self._version.creators_have_infinite_power:
                return INFINITE
            if not self._is_set:
                return CREATOR_WITHOUT_LEVELS
        level = self._entry("users", user_id)
        return self._named("users_default") if level is None else level

    def needed_for(self, event: Event) -> int:
        """Return the level that sending an event takes; memberships follow their own rules."""
        return self.needed_for_state(event.type) if event.is_state else self.needed_for_message(event.type)

    def needed_for_state(self, event_type: str) -> int:
        """Return the level that setting state of a type takes."""
        level = self._entry("events", event_type)
        return self._named("state_default") if level is None else level

    def needed_for_message(self, event_type: str) -> int:
        """Return the level that sending other events of a type takes."""
        level = self._entry("events", event_type)
        return self._named("events_default") if level is None else level

    def needed_to_notify(self, name: str) -> int:
        """Return the level that notifying everybody takes; `name` is "room"."""
        level = self._entry("notifications", name)
        return DEFAULT_NOTIFICATION_LEVEL if level is None else level

    @cached_property
    def invite(self) -> int:
        """The level that inviting takes."""
        return self._named("invite")

    @cached_property
    def kick(self) -> int:
        """The level that removing members takes; they must be lower than who removes them."""
        return self._named("kick")

    @cached_property
    def ban(self) -> int:
        """The level that banning and unbanning takes."""
        return self._named("ban")

    @cached_property
    def redact(self) -> int:
        """The level that redacting others' events takes."""
        return self._named("redact")

    def may_invite(self, user_id: str) -> bool:
        """Return whether a user, if joined, may invite."""
        return self.of_user(user_id) >= self.invite

    def _named(self, name: str) -> int:
        level = parse_level(self._content.get(name), self._version)
        return DEFAULTS[name] if level is None else level

    def _entry(self, table: str, key: str) -> int | None:
        entries = self._content.get(table)
        return parse_level(entries.get(key), self._version) if isinstance(entries, dict) else None
