"""What somebody may see of a room: every read of events and state for a user goes through here.

From coarse to fine: `reading` says whether they may read the room's state, and as of when; `seen` says which of some
events they may see, by the history visibility of the room at each of them.

https://spec.matrix.org/v1.19/client-server-api/#room-history-visibility
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from tricord.homeserver.rooms.memberships import Membership, Memberships
from tricord.homeserver.rooms.preferences import Preferences
from tricord.homeserver.rooms.retention import Retention
from tricord.homeserver.rooms.state import RoomState
from tricord.homeserver.rooms.stored_event import StateKey, StoredEvent
from tricord.homeserver.rooms.timeline import Timeline
from tricord.homeserver.stream.tokens import Place
from tricord.protocol.errors import Forbidden
from tricord.protocol.history_visibility import WORLD_READABLE, Standing, may_see, visibility_of
from tricord.protocol.identifiers import EventId, RoomId, UserId

_HISTORY_VISIBILITY: StateKey = ("m.room.history_visibility", "")


@dataclass(frozen=True, slots=True)
class Seen:
    """An event that somebody may see."""

    stored: StoredEvent
    membership: str
    """What they were to the room at the event, with the change that it made."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Leave to read the state of a room."""

    left: StoredEvent | None
    """None: the state as it is now; else as it was at this event, with which the reader left."""


@dataclass(frozen=True, slots=True)
class _LastStay:
    """The last time that somebody was in a room."""

    joined: Place
    left: StoredEvent | None


class Visibility:
    """Knows who may see what.

    SQL: for members reading what was sent since they joined, none but the look-up of whom they ignore, by primary key.
    For everybody else, and for older events, the state at the events and the reader's last few memberships.
    """

    def __init__(
        self,
        state: RoomState,
        timeline: Timeline,
        memberships: Memberships,
        preferences: Preferences,
        retention: Retention | None = None,
    ) -> None:
        self._state = state
        self._timeline = timeline
        self._memberships = memberships
        self._preferences = preferences
        self._retention = retention

    async def reading(self, user_id: UserId, room_id: RoomId) -> Reading:
        """Let members, those who left, and everybody if the room is world-readable read the state; refuse others."""
        if room_id in await self._memberships.joined_rooms(user_id) or await self._is_world_readable(room_id):
            return Reading(left=None)
        now = await self._memberships.membership(user_id, room_id)
        last_stay = None if now is None else (await self._last_stays([now])).get(room_id)
        if last_stay is None or last_stay.left is None:
            raise Forbidden(f"{user_id} is not in {room_id}")
        return Reading(left=last_stay.left)

    async def check_may_read_now(self, user_id: UserId, room_id: RoomId) -> None:
        """Refuse those who may not read the state of the room as it is now."""
        if (await self.reading(user_id, room_id)).left is not None:
            raise Forbidden(f"{user_id} is no longer in {room_id}")

    async def visible(self, user_id: UserId, events: Sequence[StoredEvent]) -> list[StoredEvent]:
        """Return those of the events that the user may see, in their order."""
        return [seen.stored for seen in await self.seen(user_id, events)]

    async def seen(self, user_id: UserId, events: Sequence[StoredEvent], *, ignored_too: bool = False) -> list[Seen]:
        """Return those of the events that the user may see, in their order, and what they were to the room.

        Messages whose time is over are left out, and those of people whom they ignore, unless asked for; state is not.
        https://spec.matrix.org/v1.19/client-server-api/#ignoring-users
        """
        if self._retention is not None:
            events = await self._retention.still_told(events)
        if not events:
            return []
        others_speak = any(not stored.event.is_state and stored.event.sender != user_id for stored in events)
        heed = others_speak and not ignored_too
        ignored = await self._preferences.ignored_by(user_id) if heed else frozenset()
        happened = [
            stored
            for stored in events
            # Without a place in the room there is no telling what the room was like then.
            if stored.position is not None
            and not stored.rejected
            and not stored.soft_failed
            and (stored.event.is_state or stored.event.sender not in ignored)
        ]
        now = await self._memberships.memberships(user_id, {stored.event.room_id for stored in happened})
        joined = {room_id: (standing.since, 0) for room_id, standing in now.items() if standing.membership == "join"}
        seen: dict[StoredEvent, Seen] = {}
        others = []
        for stored in happened:
            since = joined.get(stored.event.room_id)
            # Whoever is in the room, and has been since before the event, was in it at the event.
            if since is not None and (stored.position, stored.backfill_rank) >= since:
                seen[stored] = Seen(stored, "join")
            else:
                others.append(stored)
        if others:
            seen |= {one.stored: one for one in await self._seen_by_state(user_id, others, now)}
        return [seen[stored] for stored in events if stored in seen]

    async def _seen_by_state(
        self, user_id: UserId, events: Sequence[StoredEvent], memberships: Mapping[RoomId, Membership]
    ) -> list[Seen]:
        member: StateKey = ("m.room.member", user_id)
        decisive = (_HISTORY_VISIBILITY, member)
        states = await self._state.at_many(events, decisive)
        replaced = await self._timeline.events(
            {stored.replaces for stored in events if stored.replaces is not None and stored.key in decisive}
        )
        last_stays = await self._last_stays(memberships.values())
        seen = []
        for stored in events:
            now, last_stay = memberships.get(stored.event.room_id), last_stays.get(stored.event.room_id)
            state = states.get(stored, {})
            after = _standing(state, member)
            before = after
            if stored.key in decisive:
                before = _standing(_state_before(stored, state, replaced), member)
            forgotten = now is not None and now.forgotten
            if forgotten:
                # Whoever has forgotten the room is as good as somebody who never was there.
                after, before = _as_stranger(after), _as_stranger(before)
            joined_later = last_stay is not None and last_stay.joined > stored.place
            # Everybody learns what becomes of themselves: that an invitation was taken back, for one.
            is_own = stored.key == member and not forgotten
            if is_own or may_see(before, after, joined_later=joined_later):
                seen.append(Seen(stored, after.membership or "leave"))
        return seen

    async def _last_stays(self, memberships: Collection[Membership]) -> dict[RoomId, _LastStay]:
        """Return when a user was last in each of some rooms; where they never were, or have forgotten it: absent."""
        last = [now for now in memberships if not now.forgotten]
        stays = {now.room_id: _LastStay(Place(now.position), None) for now in last if now.membership == "join"}
        left: dict[RoomId, StoredEvent] = {}
        wanted = [now.event_id for now in last if now.room_id not in stays]
        # Back from now to the last join; in between there are only leaves, bans, invitations and knocks.
        while wanted:
            events = await self._timeline.events(wanted)
            wanted = []
            for stored in events.values():
                room_id = stored.event.room_id
                if stored.event.content.get("membership") == "join":
                    stays[room_id] = _LastStay(Place(stored.position or 0, stored.backfill_rank), left.get(room_id))
                else:
                    left[room_id] = stored
                    if stored.replaces is not None:
                        wanted.append(stored.replaces)
        return stays

    async def _is_world_readable(self, room_id: RoomId) -> bool:
        state = await self._state.current(room_id, [_HISTORY_VISIBILITY])
        stored = state.get(_HISTORY_VISIBILITY)
        return stored is not None and visibility_of(stored.event.content) == WORLD_READABLE


def _standing(state: Mapping[StateKey, StoredEvent], member: StateKey) -> Standing:
    visibility, membership = state.get(_HISTORY_VISIBILITY), state.get(member)
    return Standing(
        visibility_of(None if visibility is None else visibility.event.content),
        None if membership is None else membership.event.content.get("membership"),
    )


def _state_before(
    stored: StoredEvent, after: Mapping[StateKey, StoredEvent], replaced: Mapping[EventId, StoredEvent]
) -> dict[StateKey, StoredEvent]:
    """Return the state before a state event: that after it, with what it replaced in its place."""
    before = {key: value for key, value in after.items() if key != stored.key}
    if stored.key is not None and stored.replaces is not None and stored.replaces in replaced:
        before[stored.key] = replaced[stored.replaces]
    return before


def _as_stranger(standing: Standing) -> Standing:
    return Standing(standing.visibility, None)
