"""Filters: which events a client wants of those that it may have.

A filter is checked and compiled once; then it answers for each event.
https://spec.matrix.org/v1.19/client-server-api/#filtering
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, Self

from tricord.protocol.errors import BadJson, InvalidParam
from tricord.protocol.globs import GlobSet
from tricord.protocol.identifiers import RoomId, UserId

_MOST_ENTRIES = 1_000
_LONGEST_ENTRY = 255


class FilteredEvent(Protocol):
    """What a filter looks at."""

    @property
    def type(self) -> str:
        """The type of the event."""
        ...

    @property
    def sender(self) -> UserId:
        """Who sent it."""
        ...

    @property
    def content(self) -> Mapping[str, Any]:
        """Its content."""
        ...


@dataclass(frozen=True)
class EventFilter:
    """Wanted types and senders; None admits all, and what is excluded stays so even if it is included as well."""

    limit: int | None = None
    types: tuple[str, ...] | None = None
    not_types: tuple[str, ...] = ()
    senders: frozenset[UserId] | None = None
    not_senders: frozenset[UserId] = frozenset()

    @classmethod
    def parse(cls, value: Any, name: str = "filter") -> Self:
        """Return the filter that some JSON describes; `name` is what a refusal calls it."""
        return cls(**cls._fields(_Reader(value, name)))

    @classmethod
    def _fields(cls, reader: _Reader) -> dict[str, Any]:
        senders = reader.identifiers("senders", "@")
        return {
            "limit": reader.limit(),
            "types": reader.strings("types"),
            "not_types": reader.strings("not_types") or (),
            "senders": None if senders is None else frozenset(senders),
            "not_senders": frozenset(reader.identifiers("not_senders", "@") or ()),
        }

    def allows_type(self, event_type: str) -> bool:
        """Return whether events of a type are wanted."""
        return (self._types is None or self._types.matches(event_type)) and not self._not_types.matches(event_type)

    def allows_sender(self, sender: UserId) -> bool:
        """Return whether events of a user are wanted."""
        return (self.senders is None or sender in self.senders) and sender not in self.not_senders

    def allows(self, event: FilteredEvent) -> bool:
        """Return whether an event is wanted."""
        return self.allows_everything or (self.allows_sender(event.sender) and self.allows_type(event.type))

    @cached_property
    def allows_everything(self) -> bool:
        """Whether there is no event that the filter keeps away."""
        return self.types is None and not self.not_types and self.senders is None and not self.not_senders

    @cached_property
    def _types(self) -> GlobSet | None:
        return None if self.types is None else GlobSet(self.types, stars_only=True)

    @cached_property
    def _not_types(self) -> GlobSet:
        return GlobSet(self.not_types, stars_only=True)


@dataclass(frozen=True)
class RoomEventFilter(EventFilter):
    """Wanted events of rooms."""

    rooms: frozenset[RoomId] | None = None
    not_rooms: frozenset[RoomId] = frozenset()
    contains_url: bool | None = None
    lazy_load_members: bool = False
    include_redundant_members: bool = False
    unread_thread_notifications: bool = False

    @classmethod
    def _fields(cls, reader: _Reader) -> dict[str, Any]:
        return {
            **super()._fields(reader),
            **_room_fields(reader),
            "contains_url": reader.boolean("contains_url"),
            "lazy_load_members": reader.boolean("lazy_load_members") or False,
            "include_redundant_members": reader.boolean("include_redundant_members") or False,
            "unread_thread_notifications": reader.boolean("unread_thread_notifications") or False,
        }

    def allows_room(self, room_id: RoomId) -> bool:
        """Return whether events of a room are wanted; `allows` does not ask for the room again."""
        return (self.rooms is None or room_id in self.rooms) and room_id not in self.not_rooms

    def allows(self, event: FilteredEvent) -> bool:
        """Return whether an event is wanted, in a room that is."""
        if self.contains_url is not None and self.contains_url != ("url" in event.content):
            return False
        return super().allows(event)

    @cached_property
    def allows_everything(self) -> bool:
        """Whether there is no event, in a room that is wanted, that the filter keeps away."""
        return self.contains_url is None and super().allows_everything


@dataclass(frozen=True)
class RoomFilter:
    """Wanted rooms, and what is wanted of each."""

    rooms: frozenset[RoomId] | None = None
    not_rooms: frozenset[RoomId] = frozenset()
    include_leave: bool = False
    timeline: RoomEventFilter = RoomEventFilter()
    state: RoomEventFilter = RoomEventFilter()
    ephemeral: RoomEventFilter = RoomEventFilter()
    account_data: RoomEventFilter = RoomEventFilter()

    @classmethod
    def parse(cls, value: Any, name: str = "room") -> Self:
        """Return the filter that some JSON describes; `name` is what a refusal calls it."""
        reader = _Reader(value, name)
        return cls(
            **_room_fields(reader),
            include_leave=reader.boolean("include_leave") or False,
            timeline=RoomEventFilter.parse(reader.part("timeline"), f"{name}.timeline"),
            state=RoomEventFilter.parse(reader.part("state"), f"{name}.state"),
            ephemeral=RoomEventFilter.parse(reader.part("ephemeral"), f"{name}.ephemeral"),
            account_data=RoomEventFilter.parse(reader.part("account_data"), f"{name}.account_data"),
        )

    def allows_room(self, room_id: RoomId) -> bool:
        """Return whether anything of a room is wanted."""
        return (self.rooms is None or room_id in self.rooms) and room_id not in self.not_rooms


@dataclass(frozen=True)
class Filter:
    """All that a client says about what a sync shall bring."""

    event_fields: tuple[str, ...] | None = None
    event_format: str = "client"
    presence: EventFilter = EventFilter()
    account_data: EventFilter = EventFilter()
    room: RoomFilter = RoomFilter()

    @classmethod
    def parse(cls, value: Any) -> Self:
        """Return the filter that some JSON describes."""
        reader = _Reader(value, "filter")
        return cls(
            event_fields=reader.strings("event_fields"),
            event_format=reader.event_format(),
            presence=EventFilter.parse(reader.part("presence"), "presence"),
            account_data=EventFilter.parse(reader.part("account_data"), "account_data"),
            room=RoomFilter.parse(reader.part("room")),
        )


class _Reader:
    """Reads the fields of one JSON object; null is as good as absent."""

    def __init__(self, value: Any, name: str) -> None:
        if not isinstance(value, dict):
            raise BadJson(f"`{name}` of a filter is an object")
        self._value = value
        self._name = name

    def part(self, key: str) -> Any:
        value = self._value.get(key)
        return {} if value is None else value

    def boolean(self, key: str) -> bool | None:
        value = self._value.get(key)
        if value is not None and not isinstance(value, bool):
            raise BadJson(f"`{self._name}.{key}` is true or false")
        return value

    def limit(self) -> int | None:
        value = self._value.get("limit")
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool):
            raise BadJson(f"`{self._name}.limit` is an integer")
        # Zero is outside the specification, and clients send it to ask for no events at all.
        if value < 0:
            raise InvalidParam(f"`{self._name}.limit` is not negative")
        return value

    def event_format(self) -> str:
        value = self._value.get("event_format")
        if value not in (None, "client", "federation"):
            raise InvalidParam("`event_format` is `client` or `federation`")
        return value or "client"

    def strings(self, key: str) -> tuple[str, ...] | None:
        value = self._value.get(key)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
            raise BadJson(f"`{self._name}.{key}` is a list of strings")
        if len(value) > _MOST_ENTRIES or any(len(entry) > _LONGEST_ENTRY for entry in value):
            raise InvalidParam(
                f"`{self._name}.{key}` has at most {_MOST_ENTRIES} entries of {_LONGEST_ENTRY} characters"
            )
        return tuple(value)

    def identifiers(self, key: str, sigil: str) -> tuple[str, ...] | None:
        value = self.strings(key)
        for entry in value or ():
            if not entry.startswith(sigil):
                raise InvalidParam(f"an entry of `{self._name}.{key}` does not start with {sigil}")
        return value


def _room_fields(reader: _Reader) -> dict[str, Any]:
    rooms = reader.identifiers("rooms", "!")
    return {
        "rooms": None if rooms is None else frozenset(rooms),
        "not_rooms": frozenset(reader.identifiers("not_rooms", "!") or ()),
    }
