"""What changed for a user between two positions, as values: the answer of the engine, before it is encoded.

Events are JSON already: their client form is made once, and spliced into whatever is sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tricord.homeserver.encryption.device_lists import NO_NEWS, ListNews
from tricord.homeserver.push.counts import Count
from tricord.homeserver.stream.tokens import Place
from tricord.protocol.identifiers import EventId, RoomId
from tricord.protocol.strict_json import JsonObject

Json = bytes


@dataclass(frozen=True, slots=True)
class Timeline:
    """A stretch of a room's history, oldest first."""

    events: tuple[Json, ...]
    # Whether it does not reach back to where the user was: there is more between.
    limited: bool
    # The place just before the first event, where reading backwards goes on.
    prev_batch: Place


@dataclass(slots=True)
class RoomNews:
    """What everybody in a room is told alike: one object, encoded once, serves all who waited for it."""

    timeline: Timeline | None = None
    # None: nothing to say. Up to the start of the timeline, or to its end if `state_is_after`.
    state: tuple[Json, ...] | None = None
    state_is_after: bool = False
    ephemeral: tuple[Json, ...] = ()
    # The encoder keeps its work here.
    encoded: bytes | None = None

    def __bool__(self) -> bool:
        return bool(self.timeline or self.state or self.ephemeral)


@dataclass(frozen=True, slots=True)
class JoinedRoom:
    """A room the user is in: what all are told, and what only this user is told."""

    news: RoomNews
    account_data: tuple[Json, ...] = ()
    summary: JsonObject | None = None
    unread: Count | None = None
    # By the thread's root; then `unread` is of the main timeline.
    unread_threads: Mapping[EventId, Count] | None = None


@dataclass(frozen=True, slots=True)
class LeftRoom:
    """A room the user is no longer in, up to the moment they left."""

    news: RoomNews
    account_data: tuple[Json, ...] = ()


@dataclass(frozen=True, slots=True)
class DeviceNews:
    """What only one device of the user is told, of what encryption needs."""

    one_time_keys: Mapping[str, int] = field(default_factory=dict)
    """How many of each algorithm are left."""
    unused_fallback_keys: tuple[str, ...] = ()
    were_claimed: bool = False
    messages: Sequence[bytes] = ()
    """Messages to the device, as JSON."""
    messages_upto: int | None = None
    """The position of the last of them, if more wait."""
    lists: ListNews = NO_NEWS

    def __bool__(self) -> bool:
        return bool(self.were_claimed or self.messages or self.lists)


@dataclass(slots=True)
class Delta:
    """Everything that changed up to a position; sections that say nothing are empty."""

    upto: int
    joined: dict[RoomId, JoinedRoom] = field(default_factory=dict)
    # Stripped state.
    invited: dict[RoomId, tuple[Json, ...]] = field(default_factory=dict)
    knocked: dict[RoomId, tuple[Json, ...]] = field(default_factory=dict)
    left: dict[RoomId, LeftRoom] = field(default_factory=dict)
    account_data: tuple[Json, ...] = ()
    presence: tuple[Json, ...] = ()
    devices: DeviceNews = DeviceNews()
    # Rooms that could not be read, and after which position each is to be told.
    left_out: Mapping[RoomId, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(
            self.joined
            or self.invited
            or self.knocked
            or self.left
            or self.account_data
            or self.presence
            or self.devices
        )
