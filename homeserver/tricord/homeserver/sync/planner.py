"""Reads what a plan is made of: the user's memberships, and which of their rooms changed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

from tricord.homeserver.rooms.memberships import Membership as Row
from tricord.homeserver.rooms.memberships import Memberships
from tricord.homeserver.rooms.partial_rooms import PartialRooms
from tricord.homeserver.rooms.state import RoomState
from tricord.homeserver.rooms.timeline import Timeline
from tricord.homeserver.sync.plan import Membership, Plan, Stretch, changed_plan, initial_plan
from tricord.homeserver.sync.room_reads import RoomReads, mark_of
from tricord.homeserver.sync.viewer import Viewer
from tricord.homeserver.sync.window import MEMBER
from tricord.homeserver.sync.windows import Windows
from tricord.protocol.identifiers import EventId, RoomId

# How many changes of one membership are followed back.
_MOST_CHANGES = 100
_OUTSIDE = ("leave", "ban")

_Placed: TypeAlias = Row | Membership


class Planner:
    """Plans what a viewer is told of."""

    def __init__(
        self,
        timeline: Timeline,
        state: RoomState,
        memberships: Memberships,
        partial_rooms: PartialRooms,
        windows: Windows,
    ) -> None:
        self._timeline = timeline
        self._state = state
        self._memberships = memberships
        self._partial_rooms = partial_rooms
        self._windows = windows

    async def plan(self, viewer: Viewer, since: int | None, upto: int, reads: RoomReads, *, own_things: bool) -> Plan:
        """Return which stretches of which rooms to tell; `own_things`: the user's memberships may have changed."""
        if since is None:
            plan = await self._of_everything(viewer, upto, reads)
        else:
            plan = await self._of_changes(viewer, since, upto, reads, own_things=own_things)
        if not viewer.filter.room.state.lazy_load_members:
            await self._leave_out_partial_rooms(plan, viewer, since, upto)
        return plan

    async def _of_everything(self, viewer: Viewer, upto: int, reads: RoomReads) -> Plan:
        wanted = viewer.filter.room
        rows = await self._memberships.rooms_of(viewer.user_id)
        known: dict[RoomId, Sequence[Membership]] = {
            r: [Membership(m.membership, m.event_id, m.position)] for r, m in rows.items()
        }
        late = await reads.read({r: m for r, m in rows.items() if m.position > upto}, self._since(0))
        for room_id, history in late.items():
            known[room_id] = [one for one in history if one.position <= upto]
        if wanted.include_leave:
            outside = {r: history[-1] for r, history in known.items() if history and history[-1].membership in _OUTSIDE}
            known |= await reads.read(outside, self._since(0))
        return initial_plan({r: history for r, history in reads.readable(known).items() if history}, upto, wanted)

    async def _of_changes(self, viewer: Viewer, since: int, upto: int, reads: RoomReads, *, own_things: bool) -> Plan:
        wanted = viewer.filter.room
        owed: dict[RoomId, tuple[int, Row]] = {}
        histories: dict[RoomId, Sequence[Membership]] = {}
        if own_things or viewer.left_out:
            rows = await self._memberships.rooms_of(viewer.user_id)
            owed = _owed(viewer, rows, since)
            moved = {r: row for r, row in rows.items() if row.position > since and row.since > since and r not in owed}
            histories.update(await reads.read(moved, self._since(since)))
        joined = await self._memberships.joined_rooms(viewer.user_id)
        changed = {
            room_id: None
            for room_id in await self._windows.rooms_changed(joined, since, upto)
            if room_id not in histories and room_id not in owed
        }

        async def of_members(rooms: Iterable[RoomId]) -> dict[RoomId, Sequence[Membership]]:
            return await self._histories_of_members(rooms, viewer, since)

        histories.update(await reads.read(changed, of_members))
        plan = changed_plan(reads.readable(changed), histories, since, upto, wanted)
        for room_id, (after, row) in owed.items():
            history = await reads.read({room_id: row}, self._since(after))
            plan.add(changed_plan((), history, after, upto, wanted))
        if viewer.full_state:
            told = {stretch.room_id for stretch in plan.joined}.union(histories, owed, reads.left_out)
            untouched = [r for r in joined if r not in told and wanted.allows_room(r)]
            plan.joined += [Stretch(room_id, since, upto, all_visible=True) for room_id in untouched]
            plan.joined = [replace(stretch, full_state=True) for stretch in plan.joined]
        return plan

    async def _histories_of_members(
        self, rooms: Iterable[RoomId], viewer: Viewer, since: int
    ) -> dict[RoomId, Sequence[Membership]]:
        """Return the memberships in rooms that the user is in, where they have changed after a position.

        Either they have a new name; or they joined just now, and it is not announced yet: then they have not been in
        it all along.
        """
        histories: dict[RoomId, Sequence[Membership]] = {}
        key = (MEMBER, str(viewer.user_id))
        for room_id in rooms:
            member = (await self._state.current(room_id, (key,))).get(key)
            if member is not None and (member.position or 0) > since:
                histories[room_id] = await self._history(member.event.event_id, since)
        return histories

    async def _leave_out_partial_rooms(self, plan: Plan, viewer: Viewer, since: int | None, upto: int) -> None:
        """Tell who wants all members at once of a room only when they are all known; then, of all of it."""
        rooms = await self._partial_rooms.all()
        if not rooms:
            return
        joined = await self._memberships.joined_rooms(viewer.user_id)
        hidden, new = set(), []
        for room_id, partial in rooms.items():
            if partial.complete_position is None or partial.complete_position > upto:
                hidden.add(room_id)
            elif since is not None and since < partial.complete_position:
                hidden.add(room_id)
                if room_id in joined and viewer.filter.room.allows_room(room_id):
                    new.append(Stretch(room_id, 0, upto, full_state=True))
        plan.joined = [stretch for stretch in plan.joined if stretch.room_id not in hidden] + new

    def _since(self, after: int) -> Callable[[Mapping[RoomId, _Placed]], Awaitable[dict[RoomId, list[Membership]]]]:
        """Return what reads the memberships in rooms, up to the given ones, from a join at or before a position."""

        async def read(rooms: Mapping[RoomId, _Placed]) -> dict[RoomId, list[Membership]]:
            return {r: await self._history(now.event_id, after, now.position) for r, now in rooms.items()}

        return read

    async def _history(self, event_id: EventId, after: int, position: int | None = None) -> list[Membership]:
        """Return the memberships of a user in a room up to the given one, from a join at or before `after`.

        `position` is that of the last of them.
        """
        history: list[Membership] = []
        next_id: EventId | None = event_id
        for _ in range(_MOST_CHANGES):
            stored = await self._timeline.event(next_id) if next_id is not None else None
            if stored is None:
                break
            # In a room elsewhere the event has no place, but the membership has one, and nothing is known before it.
            place = position if stored.position is None and not history else stored.position
            if place is None:
                break
            membership = str(stored.event.content.get("membership", "leave"))
            history.append(Membership(membership, stored.event.event_id, place))
            if place <= after and membership == "join":
                break
            next_id = stored.replaces
        history.reverse()
        return history


def _owed(viewer: Viewer, rows: Mapping[RoomId, Row], since: int) -> dict[RoomId, tuple[int, Row]]:
    """Return the rooms that were left out of what the viewer was told, and after which position they are to be told."""
    if not viewer.left_out:
        return {}
    marked = ((room_id, viewer.left_out.get(mark_of(room_id)), row) for room_id, row in rows.items())
    return {room_id: (min(after, since), row) for room_id, after, row in marked if after is not None}
