"""What is about to be written to one room: new events, and what the room becomes by them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tricord.homeserver.rooms.cached_rooms import CachedRoom
from tricord.homeserver.rooms.drafts import Draft
from tricord.homeserver.rooms.moves import Extremity
from tricord.homeserver.rooms.state_map import EMPTY, NodeId, StateRoot
from tricord.homeserver.rooms.stored_event import StateKey, StoredEvent
from tricord.protocol.events import VerifiedEvent
from tricord.protocol.identifiers import DeviceId, EventId, UserId


@dataclass(slots=True, eq=False)
class Link:
    """A new event, in its place."""

    event: VerifiedEvent
    nid: int
    prev_nids: tuple[int, ...]
    auth_nids: tuple[int, ...]
    replaces: EventId | None
    redacted_because: EventId | None = None
    state_after: StateRoot = EMPTY
    draft: Draft | None = None
    """What a local user wanted, if that is where it comes from."""
    rejected: bool = False
    soft_failed: bool = False
    resolved_state: StateRoot | None = None
    """The state of the room once the event is in it, where that is another than the state after the event."""
    forward: bool = False
    """Whether this server sends it to the others in the room."""

    @property
    def key(self) -> StateKey | None:
        """The piece of state that the event sets."""
        return None if self.event.state_key is None else (self.event.type, self.event.state_key)

    @property
    def is_placed(self) -> bool:
        """Whether it gets a position: what is refused has no place in the room."""
        return not self.rejected and not self.soft_failed

    def stored(self, position: int | None) -> StoredEvent:
        """Return the event as it is stored."""
        transaction = None if self.draft is None else self.draft.transaction
        return StoredEvent(
            self.event,
            self.nid,
            position,
            self.state_after,
            replaces=self.replaces,
            redacted_because=self.redacted_because,
            soft_failed=self.soft_failed,
            rejected=self.rejected,
            sender_device=None if transaction is None else DeviceId(transaction.device_id),
            transaction_id=None if transaction is None else transaction.transaction_id,
            resolved_state=self.resolved_state,
        )


@dataclass(frozen=True, slots=True, eq=False)
class RoomWrite:
    """New events of a room, and what it becomes; computed against the room's head."""

    room: CachedRoom
    links: Sequence[Link]
    state_root: StateRoot
    extremities: Sequence[Extremity]
    nodes: Mapping[NodeId, bytes]
    """Those of the states that are not in the database yet."""
    state: Mapping[StateKey, Link | StoredEvent | None]
    """What is set in the current state from now on; None: no longer set."""
    redacted: Sequence[StoredEvent] = ()
    """Older events that this redacts, in their new form."""
    missing: Sequence[tuple[EventId, int]] = ()
    """Events that are not here, each with the number of a new event that names it as coming before it."""
    waiting_redactions: Sequence[tuple[EventId, int]] = ()
    """Events that are not here, each with the number of its redaction."""

    def members(self) -> Iterator[tuple[UserId, str, Link | StoredEvent | None]]:
        """Yield the user, the membership and the event of each membership that is another, or said anew."""
        for (event_type, state_key), became in self.state.items():
            if event_type == "m.room.member":
                membership = "leave" if became is None else str(became.event.content.get("membership", "leave"))
                yield UserId(state_key), membership, became
