"""What a room becomes by a commit, and how the processes of a homeserver tell each other: the others need not read it.

It is pickled, in plain values: it comes from the same program, by a socket that nobody else can reach.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tricord.homeserver.rooms.state_map import StateRoot
from tricord.homeserver.rooms.stored_event import StateKey, StoredEvent
from tricord.protocol.identifiers import EventId, RoomId


@dataclass(frozen=True, slots=True)
class Extremity:
    """An event that no other one follows yet."""

    event_id: EventId
    nid: int
    depth: int


@dataclass(frozen=True, slots=True, eq=False)
class Move:
    """What a room becomes by what has been committed on top of its head."""

    position: int
    """That of the commit; 0 if nothing in it has one."""
    state_root: StateRoot
    extremities: tuple[Extremity, ...]
    state: Mapping[StateKey, StoredEvent | None]
    """What is set from now on; None: no longer set."""
    events: Sequence[StoredEvent]
    """Those with a place."""
    redacted: Sequence[StoredEvent]
    """Older events that this redacts, in their new form."""


@dataclass(frozen=True, slots=True)
class ToldMove:
    """A move as it is told: of interest to those only who know the room as it was before."""

    room_id: RoomId
    head: int
    """The one that it leads to."""
    position: int
    encoded: bytes

    @classmethod
    def of(cls, news: bytes) -> ToldMove:
        """Return what is told."""
        return cls(*pickle.loads(news))  # noqa: S301  # our own sibling wrote it

    def move(self) -> Move:
        """Return the move."""
        root, extremities, state, set_events, events = pickle.loads(self.encoded)  # noqa: S301  # as above
        placed = _events(events)
        known = {stored.nid: stored for stored in (*_events(set_events), *placed)}
        return Move(
            self.position,
            root,
            tuple(Extremity(*one) for one in extremities),
            {key: None if nid is None else known[nid] for key, nid in state.items()},
            placed,
            (),
        )


def told_move(room_id: RoomId, head: int, move: Move) -> bytes:
    """Return what to tell of the move of a room to a head; one that redacts nothing that was there before."""
    placed = {stored.nid for stored in move.events}
    set_before = [stored for stored in move.state.values() if stored is not None and stored.nid not in placed]
    encoded = (
        move.state_root,
        [(one.event_id, one.nid, one.depth) for one in move.extremities],
        {key: None if stored is None else stored.nid for key, stored in move.state.items()},
        _rows(set_before),
        _rows(move.events),
    )
    return pickle.dumps((room_id, head, move.position, pickle.dumps(encoded)))


def _rows(events: Iterable[StoredEvent]) -> list[tuple[Any, ...]]:
    return [stored.row for stored in events]


def _events(rows: Iterable[Sequence[Any]]) -> list[StoredEvent]:
    return [StoredEvent.from_row(row) for row in rows]
