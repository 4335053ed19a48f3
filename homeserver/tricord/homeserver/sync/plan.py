"""Which rooms a delta is about, and which stretch of each: from the user's memberships and what changed.

A stretch ends where the user left, whatever came after. It begins at the position of the sync before, or, in a room
that the user has joined since, where they last saw it: then all of its state is told as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tricord.protocol.event_filters import RoomFilter
from tricord.protocol.identifiers import EventId, RoomId


@dataclass(frozen=True, slots=True)
class Membership:
    """A user's membership in a room since a position."""

    membership: str
    event_id: EventId
    position: int


@dataclass(frozen=True, slots=True)
class Stretch:
    """The part of a room's history to tell: after one position, up to another one."""

    room_id: RoomId
    after: int
    upto: int
    # All of the state before the stretch, not only what changed.
    full_state: bool = False
    # The user has been in the room all through the stretch: they may see everything in it.
    all_visible: bool = False
    # Where they left: of what came later they only hear what became of themselves.
    left: int | None = None


@dataclass(slots=True)
class Plan:
    """What to tell of which room."""

    joined: list[Stretch] = field(default_factory=list)
    left: list[Stretch] = field(default_factory=list)
    invited: list[tuple[RoomId, EventId]] = field(default_factory=list)
    knocked: list[tuple[RoomId, EventId]] = field(default_factory=list)

    def add(self, other: Plan) -> None:
        """Tell also what another plan tells, of other rooms."""
        self.joined += other.joined
        self.left += other.left
        self.invited += other.invited
        self.knocked += other.knocked


# A user's memberships in one room, oldest first.
History = Sequence[Membership]


def initial_plan(histories: Mapping[RoomId, History], upto: int, wanted: RoomFilter) -> Plan:
    """Return what to tell a client that knows nothing.

    `histories` are the user's memberships; in rooms that they are in, or asked into, the last one is enough.
    """
    plan = Plan()
    for room_id, history in histories.items():
        now = history[-1]
        if not wanted.allows_room(room_id):
            continue
        if now.membership == "join":
            plan.joined.append(Stretch(room_id, 0, upto, full_state=True))
        elif now.membership == "invite":
            plan.invited.append((room_id, now.event_id))
        elif now.membership == "knock":
            plan.knocked.append((room_id, now.event_id))
        elif wanted.include_leave:
            left = _departure(history)
            start = now.position - 1 if left is None else 0
            plan.left.append(Stretch(room_id, start, now.position, full_state=left is not None, left=left or start))
    return plan


def changed_plan(
    changed_rooms: Iterable[RoomId], histories: Mapping[RoomId, History], after: int, upto: int, wanted: RoomFilter
) -> Plan:
    """Return what to tell a client that knows everything up to a position.

    `changed_rooms` are rooms the user has been in since before `after`; `histories` are the memberships in the rooms
    where they changed after it: all since, and those before back to the last time that they were inside.
    """
    plan = Plan()
    for room_id in changed_rooms:
        if room_id not in histories and wanted.allows_room(room_id):
            plan.joined.append(Stretch(room_id, after, upto, all_visible=True))
    for room_id, history in histories.items():
        if wanted.allows_room(room_id):
            _add_changed_membership(plan, room_id, history, after, upto)
    return plan


def _add_changed_membership(plan: Plan, room_id: RoomId, history: History, after: int, upto: int) -> None:
    known = [membership for membership in history if membership.position <= after]
    since = [membership for membership in history if after < membership.position <= upto]
    before = known[-1] if known else None
    if not since:
        # What changed, changed after `upto`: the room is as it was.
        if before is not None and before.membership == "join":
            plan.joined.append(Stretch(room_id, after, upto, all_visible=True))
        return
    now = since[-1]
    was_joined = before is not None and before.membership == "join"
    if now.membership == "join":
        if was_joined and all(membership.membership == "join" for membership in since):
            plan.joined.append(Stretch(room_id, after, upto, all_visible=True))
        else:
            plan.joined.append(Stretch(room_id, _last_seen(known, after), upto, full_state=True))
    elif now.membership == "invite":
        plan.invited.append((room_id, now.event_id))
    elif now.membership == "knock":
        plan.knocked.append((room_id, now.event_id))
    else:
        joined_meanwhile = any(membership.membership == "join" for membership in since)
        start = after if was_joined else _last_seen(known, after) if joined_meanwhile else now.position - 1
        left = _departure([*known, *since]) or start
        plan.left.append(
            Stretch(room_id, start, now.position, full_state=joined_meanwhile and not was_joined, left=left)
        )


def _departure(history: History) -> int | None:
    """Return where the user left for the last time; None if they never were inside."""
    left = None
    for membership in reversed(history):
        if membership.membership == "join":
            return left
        left = membership.position
    return None


def _last_seen(known: History, after: int) -> int:
    """Return up to where the client has seen the room before it was joined again.

    Whoever was asked in again may never have been told of how they left: they begin anew.
    """
    if not known or known[-1].membership in ("invite", "knock"):
        return 0
    return after if known[-1].membership == "join" else _departure(known) or 0
