"""An event as push rules look at it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from tricord.protocol.property_paths import split_path

ABSENT: Final = object()
"""What `value` returns where the event has nothing."""

# Characters that the patterns of one user may look at in one event, together. A body of the greatest size matches some
# hundred patterns, a usual one tens of thousands; without a bound, hostile rules would hold up the room for seconds.
_MOST_SCANNED = 8_000_000

_names_along = lru_cache(maxsize=1024)(split_path)


class PushedEvent:
    """One event, made once and evaluated for every user of the room.

    `sender_level` and `notification_levels` are of the room's power levels at the event; `member_count` counts who has
    joined.
    """

    __slots__ = (
        "_event",
        "_lowered",
        "_scanned",
        "_values",
        "member_count",
        "notification_levels",
        "room_id",
        "sender",
        "sender_level",
        "type",
    )

    def __init__(
        self,
        event: Mapping[str, Any],
        *,
        member_count: int,
        sender_level: float,
        notification_levels: Mapping[str, Any] | None = None,
    ) -> None:
        self._event = event
        self._values: dict[str, Any] = {}
        self._lowered: dict[str, str | None] = {}
        self._scanned = 0
        self.type: Final[str] = event["type"].lower()
        self.sender: Final[str] = event["sender"]
        self.room_id: Final[str] = event.get("room_id", "")
        self.member_count: Final = member_count
        self.sender_level: Final = sender_level
        self.notification_levels: Final = notification_levels or {}

    def value(self, key: str) -> Any:
        """Return what is at a dot-separated path, or `ABSENT`."""
        try:
            return self._values[key]
        except KeyError:
            value: Any = self._event
            for name in _names_along(key):
                value = value.get(name, ABSENT) if isinstance(value, Mapping) else ABSENT
            self._values[key] = value
            return value

    def lowered(self, key: str) -> str | None:
        """Return the string at a path in lower case, or None if there is no string."""
        try:
            return self._lowered[key]
        except KeyError:
            value = self.value(key)
            lowered = self._lowered[key] = value.lower() if isinstance(value, str) else None
            return lowered

    def start_scanning(self) -> None:
        """Begin with the rules of another user."""
        self._scanned = 0

    def may_scan(self, text: str, cost: int = 1) -> bool:
        """Return whether the patterns of this user may look at one more text."""
        self._scanned += len(text) * cost
        return self._scanned <= _MOST_SCANNED
