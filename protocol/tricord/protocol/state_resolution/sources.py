"""What a resolution needs to be given: events, answers about their auth chains, and patience."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final, Protocol

from tricord.protocol.errors import ResolutionTooLarge
from tricord.protocol.events import Event
from tricord.protocol.identifiers import EventId


class EventSource(Protocol):
    """The events of a room: those of the states, and those in the auth chains of these."""

    def events(self, event_ids: Collection[EventId]) -> Mapping[EventId, Event]:
        """Return events by id, at once, without those that are not there.

        The chain of power levels is asked for link by link; a source that is far away does well to have it at hand.
        """
        ...

    def is_rejected(self, event_id: EventId) -> bool:
        """Return whether an event was rejected. Such events may be resolved, but vouch for no other event."""
        ...


class AuthChains(Protocol):
    """Answers about chains of auth events: all that can be reached by `auth_events`.

    `walked_chains.py` finds them by walking; an index knows them without loading whole chains. For the difference an
    event counts as part of its own chain. The text does not say so, but the servers there are do so, and a fork in some
    thousand would resolve to another state here than there.

    https://spec.matrix.org/v1.19/rooms/v2/#definitions ("Auth chain", "Auth difference")
    """

    def difference(self, shared: Collection[EventId], forks: Sequence[Collection[EventId]]) -> set[EventId]:
        """Return the events in the chain of some fork which are not in that of every fork, nor in that of `shared`.

        Of the forks' own events it does not matter which are among them: they are in conflict anyway.

        This is "the auth difference" of the states that consist of what is shared and of one of the forks each.
        """
        ...

    def between(self, event_ids: Collection[EventId]) -> set[EventId]:
        """Return all events on any path by `auth_events` from one of some events to another, with its ends.

        This is "the conflicted state subgraph" of https://spec.matrix.org/v1.19/rooms/v12/#definitions
        """
        ...


class Steps:
    """How much work a resolution may be: an event looked at is one step."""

    __slots__ = ("_left", "most")

    def __init__(self, most: int = 500_000) -> None:
        self.most: Final = most
        self._left = most

    @property
    def taken(self) -> int:
        """How many have been taken."""
        return self.most - self._left

    def take(self, count: int = 1) -> None:
        """Take steps, or raise ResolutionTooLarge."""
        self._left -= count
        if self._left < 0:
            raise ResolutionTooLarge(f"the state needs more than {self.most} steps to resolve")
