"""Who syncs, with which device, and what they want to see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tricord.protocol.event_filters import Filter
from tricord.protocol.identifiers import DeviceId, UserId


@dataclass(frozen=True, slots=True)
class Viewer:
    """One device of a user, with its filter."""

    user_id: UserId
    device_id: DeviceId | None
    session_id: int
    filter: Filter
    use_state_after: bool = False
    full_state: bool = False
    messages_upto: int | None = None
    """The last message that the device has, if it has not all up to its position."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """The marks of rooms that it was not told of, and after which position each is to be told."""
