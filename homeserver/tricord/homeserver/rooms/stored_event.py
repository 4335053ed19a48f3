"""An event as the log holds it: the event, and what this server knows of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from tricord.homeserver.rooms.state_map import StateRoot
from tricord.homeserver.stream.tokens import Place
from tricord.protocol.events import VerifiedEvent, redacted_copy
from tricord.protocol.identifiers import DeviceId, EventId
from tricord.protocol.room_versions import ROOM_VERSIONS

StateKey = tuple[str, str]
"""The type and the state key of a state event."""


@dataclass(frozen=True, slots=True, eq=False)
class StoredEvent:
    """An event that is in the log; compared by its number."""

    event: VerifiedEvent
    nid: int
    """The number that stands for the event id inside the database. It says nothing about order."""
    position: int | None
    """None: an outlier, known without its place in the room."""
    state_after: StateRoot
    backfill_rank: int = 0
    replaces: EventId | None = None
    """The state event whose place this one took."""
    redacted_because: EventId | None = None
    """The redaction that cut the event down."""
    soft_failed: bool = False
    rejected: bool = False
    unjudged: bool = False
    """Whether nobody here could say yet if the rules let it be: for other events of the room it is not here."""
    sender_device: DeviceId | None = None
    transaction_id: str | None = None
    resolved_state: StateRoot | None = None
    """The state of the room once this event was in it, where that is not the state after the event: on forks."""
    client_json: bytes | None = field(default=None, init=False, repr=False)
    """`client_format.py` keeps its work here."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StoredEvent) and other.nid == self.nid

    def __hash__(self) -> int:
        return self.nid

    @classmethod
    def from_row(cls, row: Sequence[Any]) -> Self:
        """Return an event from a row of `storage/events.py`, or from `row`."""
        return cls(
            event=VerifiedEvent.from_stored(row[2], ROOM_VERSIONS[row[3]], row[1]),
            nid=row[0],
            position=row[4],
            backfill_rank=row[5],
            state_after=StateRoot(row[6]),
            replaces=row[7],
            redacted_because=row[8],
            soft_failed=row[9],
            rejected=row[10],
            sender_device=row[11],
            transaction_id=row[12],
            resolved_state=None if row[13] is None else StateRoot(row[13]),
            unjudged=row[14],
        )

    @property
    def row(self) -> tuple[Any, ...]:
        """What `from_row` makes the event of again, in plain values."""
        return (
            self.nid,
            self.event.event_id,
            self.event.json,
            self.event.version.name,
            self.position,
            self.backfill_rank,
            self.state_after,
            self.replaces,
            self.redacted_because,
            self.soft_failed,
            self.rejected,
            self.sender_device,
            self.transaction_id,
            self.resolved_state,
            self.unjudged,
        )

    def redacted(self, because: EventId) -> StoredEvent:
        """Return what becomes of it by a redaction."""
        return replace(self, event=redacted_copy(self.event), redacted_because=because)

    @property
    def key(self) -> StateKey | None:
        """The piece of state that the event sets."""
        event = self.event
        return None if event.state_key is None else (event.type, event.state_key)

    @property
    def room_state(self) -> StateRoot:
        """The state of the room once this event was in it."""
        return self.state_after if self.resolved_state is None else self.resolved_state

    @property
    def place(self) -> Place:
        """Where the event stands in its room. Outliers stand nowhere: ValueError."""
        if self.position is None:
            raise ValueError(f"{self.event.event_id} is an outlier")
        return Place(self.position, self.backfill_rank)
