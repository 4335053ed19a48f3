"""What a client wants to be told of a room: how much of its timeline, and which of its state."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tricord.clients.api.sliding_sync import RoomConfig, StateElement, StateRequest
from tricord.homeserver.rooms.stored_event import StateKey
from tricord.homeserver.sync.window import MEMBER
from tricord.protocol.identifiers import UserId

Element = tuple[str | None, str | None]
"""A type and a state key; None stands for any."""

ANY: Element = (None, None)
# More than this of a timeline is read with `/messages`.
_HIGHEST_LIMIT = 200


@dataclass(frozen=True, slots=True)
class StateWish:
    """Some of a room's state."""

    include: frozenset[Element] = frozenset()
    exclude: frozenset[Element] = frozenset()
    # Of the members, those whose events are shown; "everything" then is everything but members.
    lazy_members: bool = False

    def includes(self, key: StateKey) -> bool:
        """Return whether a piece of state is in it."""
        return self._included(key) and not _among(self.exclude, key)

    def covers(self, other: StateWish) -> bool:
        """Return whether all of another wish surely is in it."""
        return (
            (self.lazy_members or not other.lazy_members)
            and self.exclude <= other.exclude
            and all(self._included(element) for element in other.include)
            and not (self.lazy_members and not other.lazy_members and other.wants_all)
        )

    @property
    def wants_all(self) -> bool:
        """Return whether it names every type."""
        return any(event_type is None for event_type, _ in self.include)

    def _included(self, key: Element) -> bool:
        event_type, state_key = key
        if key in self.include or (event_type, None) in self.include:
            return True
        if self.lazy_members and event_type == MEMBER:
            return False
        return (None, state_key) in self.include or ANY in self.include

    def as_json(self) -> list[Any]:
        """Return it as JSON; equal wishes have equal ones."""
        return [_sorted(self.include), _sorted(self.exclude), self.lazy_members]

    @classmethod
    def from_json(cls, value: list[Any]) -> StateWish:
        """Return what `as_json` was made of."""
        include, exclude, lazy = value
        return cls(frozenset((t, k) for t, k in include), frozenset((t, k) for t, k in exclude), lazy)


@dataclass(frozen=True, slots=True)
class RequiredState:
    """All the state that a client wants of a room: what any of the wishes asks for."""

    wishes: tuple[StateWish, ...] = ()

    @property
    def lazy_members(self) -> bool:
        """Return whether members are told as they are needed."""
        return any(wish.lazy_members for wish in self.wishes)

    def includes(self, key: StateKey) -> bool:
        """Return whether a piece of state is wanted."""
        return any(wish.includes(key) for wish in self.wishes)

    def covers(self, other: RequiredState) -> bool:
        """Return whether all that another one asks for surely is in it."""
        return all(any(mine.covers(wish) for mine in self.wishes) for wish in other.wishes)

    def and_also(self, other: RequiredState) -> RequiredState:
        """Return what one of the two asks for."""
        if self.covers(other):
            return self
        if other.covers(self):
            return other
        return RequiredState(_merged((*self.wishes, *other.wishes)))

    def keys(self) -> frozenset[StateKey]:
        """Return the pieces that are asked for by name."""
        return frozenset(
            (event_type, state_key)
            for wish in self.wishes
            for event_type, state_key in wish.include
            if event_type is not None and state_key is not None
        )

    def types(self) -> frozenset[str]:
        """Return the types of which all is asked for."""
        return frozenset(
            event_type
            for wish in self.wishes
            for event_type, state_key in wish.include
            if event_type is not None and state_key is None
        )

    @property
    def wants_all_types(self) -> bool:
        """Return whether state of every type is asked for."""
        return any(wish.wants_all for wish in self.wishes)

    @property
    def wants_all_members(self) -> bool:
        """Return whether all members may be among what is asked for."""
        return any((MEMBER, None) in wish.include or (wish.wants_all and not wish.lazy_members) for wish in self.wishes)


@dataclass(frozen=True, slots=True)
class RoomWish:
    """What a client wants of a room, and the lists because of which it wants it."""

    limit: int
    required: RequiredState
    lists: tuple[str, ...] = ()

    def and_also(self, other: RoomWish) -> RoomWish:
        """Return what one of the two asks for."""
        return RoomWish(
            max(self.limit, other.limit), self.required.and_also(other.required), (*self.lists, *other.lists)
        )


def room_wish(config: RoomConfig, user_id: UserId, *, of_list: str | None = None) -> RoomWish:
    """Return what a client asks for in one of its lists, or of one room."""
    wanted = config.required_state
    wish = _from_request(wanted) if isinstance(wanted, StateRequest) else _from_pairs(wanted, user_id)
    lists = () if of_list is None else (of_list,)
    return RoomWish(min(config.timeline_limit, _HIGHEST_LIMIT), RequiredState((wish,)), lists)


def _from_request(wanted: StateRequest) -> StateWish:
    return StateWish(_elements(wanted.include), _elements(wanted.exclude), wanted.lazy_members)


def _elements(wanted: Iterable[StateElement]) -> frozenset[Element]:
    return frozenset((element.type, element.state_key) for element in wanted)


def _from_pairs(pairs: Iterable[list[str]], user_id: UserId) -> StateWish:
    """Return what the older form asks for, which has names for the unnamed: `*`, `$ME` and `$LAZY`."""
    include: set[Element] = set()
    lazy = False
    for event_type, state_key in pairs:
        if state_key == "$LAZY":
            lazy = lazy or event_type in (MEMBER, "*")
            continue
        key = {"*": None, "$ME": str(user_id)}.get(state_key, state_key)
        include.add((None if event_type == "*" else event_type, key))
    return StateWish(frozenset(include), lazy_members=lazy)


def _merged(wishes: Iterable[StateWish]) -> tuple[StateWish, ...]:
    """Return the same wishes, as one where that is the same."""
    plain: list[StateWish] = []
    others: list[StateWish] = []
    for wish in wishes:
        # Where nothing is said of all types, loading members lazily takes nothing away.
        (others if wish.exclude or wish.wants_all else plain).append(wish)
    if plain:
        include = frozenset[Element]().union(*(wish.include for wish in plain))
        others.append(StateWish(include, lazy_members=any(wish.lazy_members for wish in plain)))
    return tuple(dict.fromkeys(others))


def _among(elements: frozenset[Element], key: StateKey) -> bool:
    event_type, state_key = key
    return not elements.isdisjoint(((event_type, state_key), (event_type, None), (None, state_key), ANY))


def _sorted(elements: frozenset[Element]) -> list[list[str | None]]:
    return sorted(([*element] for element in elements), key=repr)
