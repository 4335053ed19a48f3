"""What happened in a room between two positions, and the state before that, for whoever looks."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import trio

from tricord.homeserver.rooms.heroes import NAMES
from tricord.homeserver.rooms.receipts import READ_PRIVATE
from tricord.homeserver.rooms.stored_event import StateKey, StoredEvent
from tricord.homeserver.rooms.tail import memory_of
from tricord.homeserver.rooms.timeline import Stretch as Read
from tricord.homeserver.storage.receipts import Receipt
from tricord.homeserver.sync.delta import RoomNews
from tricord.homeserver.sync.plan import Stretch
from tricord.protocol.event_filters import Filter
from tricord.protocol.identifiers import EventId, UserId

MEMBER = "m.room.member"
_RECEIPT_BYTES = 500
# History that is fetched from elsewhere tells nobody.
_BEGINNING_LASTS_SECONDS = 60


@dataclass(slots=True)
class Window:
    """What happened in a room, for anybody."""

    stretch: Stretch
    # Oldest first, at most as many as were asked for.
    events: tuple[StoredEvent, ...] = ()
    limited: bool = False
    # The position just before the first event.
    start: int = 0
    # The first event that was looked at, whether it is shown or not.
    first: StoredEvent | None = None
    # Whether of the whole state only those members are in `state` that were asked for.
    lazily: bool = False
    # The last event before it, where the whole state is told.
    before: StoredEvent | None = None
    # Before the first event: all of it, or what changed since the stretch began.
    state: dict[StateKey, StoredEvent] = field(default_factory=dict)
    receipts: Sequence[Receipt] = ()
    # Whether older receipts were left out.
    lacks_receipts: bool = False
    # Everybody who types, if that changed.
    typing: Sequence[UserId] | None = None
    companions: Mapping[EventId, StoredEvent] = field(default_factory=dict)
    senders: frozenset[UserId] = frozenset()
    # Devices to which one of the events is the answer to a transaction.
    transaction_users: frozenset[UserId] = frozenset()
    # Who has read in private, which only they are told.
    private_readers: frozenset[UserId] = frozenset()
    # Who types or has read, of whom those are told nothing who ignore them.
    passing_users: frozenset[UserId] = frozenset()
    changes_members: bool = False
    # Who names the room after its members may have to begin with it.
    changes_name: bool = False
    # How others relate to the events, if that was asked already.
    kinds: Mapping[EventId, Collection[str]] | None = None
    read_at: float = 0.0
    # What was rendered for all who use one filter, and when; the filter is kept so that its identity stays its own.
    news: dict[tuple[int, bool], tuple[Filter, RoomNews, int]] = field(default_factory=dict)

    def is_fresh(self) -> bool:
        """Return whether it still is what would be read again."""
        return not is_beginning(self.stretch) or trio.current_time() - self.read_at < _BEGINNING_LASTS_SECONDS

    @property
    def is_gappy(self) -> bool:
        """Whether state may have changed between the beginning of the stretch and the first event that is told."""
        stretch = self.stretch
        return not stretch.full_state and (self.limited or (stretch.after > 0 and not stretch.all_visible))

    @property
    def tells_of_relations(self) -> bool:
        """Whether events of others may relate to its events that are told neither in it nor before it."""
        return self.limited or self.stretch.full_state

    @property
    def state_until(self) -> int:
        """The position up to which the state that is told lies."""
        return self.start if self.stretch.left is None else min(self.start, self.stretch.left)

    def memory(self) -> int:
        """Return about how many bytes it takes, if nothing else has its events."""
        return sum(map(memory_of, (*self.events, *self.state.values()))) + _RECEIPT_BYTES * len(self.receipts)

    def index(self) -> None:
        """Note what decides for whom the window may be rendered alike."""
        self.senders = frozenset(stored.event.sender for stored in self.events)
        self.transaction_users = frozenset(
            stored.event.sender for stored in self.events if stored.transaction_id is not None
        )
        self.private_readers = frozenset(one.user_id for one in self.receipts if one.receipt_type == READ_PRIVATE)
        self.passing_users = frozenset((*(self.typing or ()), *(receipt.user_id for receipt in self.receipts)))
        self.changes_members = any(stored.event.type == MEMBER for stored in self.events) or any(
            event_type == MEMBER for event_type, _ in self.state
        )
        self.changes_name = any(stored.key in NAMES for stored in self.events) or any(
            key in self.state for key in NAMES
        )

    def state_after(self) -> dict[StateKey, StoredEvent]:
        """Return the same state up to the end of the events."""
        return {**self.state, **state_set_by(event for event in self.events if self.tells_state_of(event))}

    def tells_state_of(self, stored: StoredEvent) -> bool:
        """Return whether the state at an event is told: not of what came after the user has left."""
        return self.stretch.left is None or stored.place.position <= self.stretch.left

    def with_receipts(self, older: Sequence[Receipt]) -> Window:
        """Return the window with receipts that are older than those it has."""
        window = replace(self, receipts=(*older, *self.receipts), news={})
        window.index()
        return window

    def without(self, hidden: Collection[StoredEvent]) -> Window:
        """Return the window without some of its events; state that they set is told beside the timeline.

        What is beside counts as older than the timeline. Where that would make an older event win, the timeline
        begins after it.
        """
        beside = [stored for stored in hidden if stored.key is not None and self.tells_state_of(stored)]
        nids = {stored.nid for stored in hidden}
        shown = [stored for stored in self.events if stored.nid not in nids]
        first_set: dict[StateKey, int] = {}
        for stored in shown:
            if stored.key is not None:
                first_set.setdefault(stored.key, stored.place.position)
        cut = 0
        for stored in beside:
            position = stored.place.position
            if stored.key is not None and first_set.get(stored.key, position) < position:
                cut = max(cut, position)
        dropped = [stored for stored in shown if stored.place.position <= cut]
        state = state_set_by(sorted([*beside, *dropped], key=lambda stored: stored.place))
        window = replace(
            self,
            events=tuple(shown[len(dropped) :]),
            limited=self.limited or bool(dropped),
            start=max(self.start, cut),
            state={**self.state, **state},
            news={},
        )
        window.index()
        return window


def state_set_by(events: Iterable[StoredEvent]) -> dict[StateKey, StoredEvent]:
    """Return what events set, where the later ones win."""
    return {stored.key: stored for stored in events if stored.key is not None}


def may_be_shared(stretch: Stretch) -> bool:
    """Return whether many may be told the same of a stretch: who have been in the room all along, or begin in it."""
    return (stretch.all_visible and not stretch.full_state) or is_beginning(stretch)


def is_beginning(stretch: Stretch) -> bool:
    """Return whether somebody begins in a room that they are in."""
    return stretch.full_state and not stretch.after and stretch.left is None


def window_of(stretch: Stretch, read: Read, limit: int) -> Window:
    """Return the window of what was read of a stretch."""
    events = read.events if limit else ()
    limited = read.limited or (not limit and bool(read.events))
    # Where events are left out, everything up to the end is a gap.
    start = stretch.upto if limited or stretch.full_state else stretch.after
    first = events[0] if events else None
    place = start if first is None else first.place.position - 1
    return Window(stretch, events, limited, place, first, read_at=trio.current_time())
