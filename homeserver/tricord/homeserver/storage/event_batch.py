"""Writing events: everything that a group of appends changes, in one statement.

A statement over arrays costs PostgreSQL and us a fraction of one statement each, and needs one round trip and one fsync
for the group. Rooms that have moved since they were read stay as they are, with all that is of them; so do rooms with a
client's request that was answered before. The others are written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tricord.homeserver.storage.database import Transaction
from tricord.homeserver.storage.event_rows import (
    EventRow,
    MembershipRow,
    MissingRow,
    NodeRow,
    RedactionRow,
    RelationRow,
    RoomMove,
    StateRow,
    TransactionRow,
    WaitingRow,
)
from tricord.homeserver.storage.event_statement import statement_of
from tricord.homeserver.storage.room_servers import RemoteMemberRow, memberships_before, note_members


@dataclass(slots=True)
class EventBatch:
    """Rows to write; of no table two with the same key."""

    rooms: list[RoomMove] = field(default_factory=list)
    events: list[EventRow] = field(default_factory=list)
    state: list[StateRow] = field(default_factory=list)
    nodes: list[NodeRow] = field(default_factory=list)
    memberships: list[MembershipRow] = field(default_factory=list)
    relations: list[RelationRow] = field(default_factory=list)
    redactions: list[RedactionRow] = field(default_factory=list)
    transactions: list[TransactionRow] = field(default_factory=list)
    missing: list[MissingRow] = field(default_factory=list)
    waiting: list[WaitingRow] = field(default_factory=list)
    remote_members: list[RemoteMemberRow] = field(default_factory=list)
    arrive: bool = False
    """Whether some of the events come from elsewhere, so that others may have named them before."""

    @property
    def is_one_statement(self) -> bool:
        """Whether one statement writes it, which is a transaction by itself."""
        return not self.remote_members


async def write_events(tx: Transaction, batch: EventBatch) -> tuple[frozenset[int], dict[int, int]]:
    """Write a batch; return which rooms it was written to, and the positions of the events by their numbers.

    To rooms that had moved nothing was written, nor to those with a transaction that was answered already. It takes
    positions, so it is the end of the transaction.
    """
    before = await memberships_before(tx, batch.remote_members) if batch.remote_members else {}
    rows: dict[str, Sequence[tuple[Any, ...]]] = {
        "rooms": batch.rooms,
        "events": batch.events,
        "state": batch.state,
        "nodes": batch.nodes,
        "memberships": batch.memberships,
        "relations": batch.relations,
        "redactions": batch.redactions,
        "transactions": batch.transactions,
        "missing": batch.missing,
        "waiting": batch.waiting,
    }
    statement, arguments = statement_of(rows, arrive=batch.arrive)
    written = await tx.fetch(statement, *arguments)
    positions = {row[1]: row[2] for row in written if row[1] is not None}
    if batch.remote_members and positions:
        # Who was read before the rooms were locked was read rightly, or the room has moved and was not written to.
        last_positions = {row[0]: row[2] for row in sorted(written, key=lambda row: row[2] or 0) if row[1] is not None}
        await note_members(tx, batch.remote_members, before, positions, last_positions)
    return frozenset(row[0] for row in written), positions
