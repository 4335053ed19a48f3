"""What is new of the rooms that a client looks at, read for all of them at once.

What is told of a room that the client follows comes from the same windows as in `/sync`, shared with everybody who
follows it. A room that the client does not know yet begins with its last events, and the state that is asked for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from tricord.homeserver.clock import Clock
from tricord.homeserver.push.counts import Count, NotificationCounts
from tricord.homeserver.rooms.aggregations import Aggregation, Aggregations
from tricord.homeserver.rooms.client_format import Reader, client_event_for, companions_of
from tricord.homeserver.rooms.memberships import Membership
from tricord.homeserver.rooms.state import RoomState
from tricord.homeserver.rooms.stored_event import StateKey, StoredEvent
from tricord.homeserver.rooms.threads import MAIN
from tricord.homeserver.rooms.timeline import Timeline
from tricord.homeserver.rooms.unanswered import Unanswered
from tricord.homeserver.rooms.visibility import Visibility
from tricord.homeserver.stream.tokens import before_stretch, encode_place
from tricord.homeserver.sync.delta import Json
from tricord.homeserver.sync.plan import Stretch
from tricord.homeserver.sync.sections.summary import SummarySection
from tricord.homeserver.sync.sliding.activity import BUMPING, RoomActivity
from tricord.homeserver.sync.sliding.told_members import ToldMembers
from tricord.homeserver.sync.sliding.wishes import RequiredState, RoomWish
from tricord.homeserver.sync.viewer import Viewer
from tricord.homeserver.sync.window import MEMBER, Window
from tricord.homeserver.sync.windows import Windows
from tricord.homeserver.together import together
from tricord.protocol.identifiers import EventId, RoomId, UserId
from tricord.protocol.strict_json import JsonObject

_NAME: StateKey = ("m.room.name", "")
_ALIAS: StateKey = ("m.room.canonical_alias", "")
_AVATAR: StateKey = ("m.room.avatar", "")


@dataclass(slots=True)
class Room:
    """A room to be told of, and what there is to tell."""

    room_id: RoomId
    wish: RoomWish
    membership: str
    # Told up to here; 0: not at all.
    after: int
    upto: int
    # Everything is told, and replaces what the client knows.
    initial: bool = False
    # The last events are told although some of them were told before.
    more_timeline: bool = False
    # State that was not asked for before.
    more_state: RequiredState | None = None
    is_dm: bool | None = None
    # Of a room that the user is not in: how they left it, and with which event; or how they were asked in.
    member: Membership | None = None
    left: StoredEvent | None = None
    stripped: tuple[Json, ...] | None = None

    window: Window | None = None
    events: Sequence[StoredEvent] = ()
    limited: bool = False
    start: int = 0
    memberships: Mapping[StoredEvent, str] = field(default_factory=dict)
    state: dict[StateKey, StoredEvent] = field(default_factory=dict)
    # All of it that changed, asked for or not.
    changed: Mapping[StateKey, StoredEvent] = field(default_factory=dict)
    companions: Mapping[EventId, StoredEvent] = field(default_factory=dict)

    @property
    def is_inside(self) -> bool:
        """Return whether the user is in it."""
        return self.membership == "join"

    @property
    def begins(self) -> bool:
        """Return whether its timeline is read from its end, wherever the client is."""
        return self.initial or self.more_timeline

    @property
    def asked(self) -> RequiredState:
        """Return the state that the client asks for and was never told."""
        return self.wish.required if self.initial or self.more_state is None else self.more_state

    def take(self, state: Mapping[StateKey, StoredEvent]) -> None:
        """Take in state of which some is asked for."""
        asked = self.asked
        self.state |= {key: stored for key, stored in state.items() if asked.includes(key)}
        if self.initial:
            self.changed = {**self.changed, **state}

    def is_news(self, user_id: UserId) -> bool:
        """Return whether there is anything to tell of it, beside what passes."""
        own_receipts = self.window is not None and any(r.user_id == user_id for r in self.window.receipts)
        return bool(
            self.begins
            or self.more_state
            or self.events
            or self.changed
            or self.limited
            or self.is_dm is not None
            or not self.is_inside
            or own_receipts
        )


@dataclass(frozen=True, slots=True)
class _Facts:
    summaries: Mapping[RoomId, JsonObject]
    names: Mapping[RoomId, Mapping[StateKey, StoredEvent]]
    counts: Mapping[RoomId, Mapping[str, Count]]
    bumps: Mapping[RoomId, int]
    # What relates to events of timelines that do not reach back to where the client was.
    aggregations: Mapping[EventId, Aggregation]


class RoomReader:
    """Reads what is new of rooms, and renders it."""

    def __init__(
        self,
        timeline: Timeline,
        state: RoomState,
        visibility: Visibility,
        windows: Windows,
        summaries: SummarySection,
        counts: NotificationCounts,
        activity: RoomActivity,
        members: ToldMembers,
        aggregations: Aggregations,
        unanswered: Unanswered,
        clock: Clock,
    ) -> None:
        self._timeline = timeline
        self._state = state
        self._visibility = visibility
        self._windows = windows
        self._summaries = summaries
        self._counts = counts
        self._activity = activity
        self._members = members
        self._aggregations = aggregations
        self._unanswered = unanswered
        self._clock = clock

    async def read(self, viewer: Viewer, rooms: Collection[Room], ignored: frozenset[UserId]) -> None:
        """Read what happened in rooms, and their state."""
        inside = [room for room in rooms if room.stripped is None]
        await self._follow([room for room in inside if not room.initial], viewer, ignored)
        begin = [room for room in inside if room.begins]
        lacking = [room for room in inside if room.initial or room.more_state is not None]
        if begin or lacking:
            await together(self._begin(begin, viewer), self._add_state(lacking))

    async def _follow(self, rooms: Collection[Room], viewer: Viewer, ignored: frozenset[UserId]) -> None:
        """Read what happened since the client was told last."""
        shared: dict[int, list[Stretch]] = {}
        for room in rooms:
            if room.is_inside:
                stretch = Stretch(room.room_id, room.after, room.upto, all_visible=True)
                shared.setdefault(max(room.wish.limit, 1), []).append(stretch)
        windows: dict[RoomId, Window] = {}
        for limit, stretches in shared.items():
            windows |= await self._windows.shared_in_rooms(stretches, limit)
        for room in rooms:
            if room.is_inside:
                window = windows[room.room_id]
                room.events = window.events
                if not ignored.isdisjoint(window.senders):
                    room.events = [e for e in window.events if e.event.is_state or e.event.sender not in ignored]
            else:
                left = room.upto if room.left is None else room.left.place.position
                stretch = Stretch(room.room_id, room.after, room.upto, left=left)
                window = (await self._windows.load([stretch], max(room.wish.limit, 1)))[room.room_id]
                seen = await self._visibility.seen(viewer.user_id, window.events)
                room.memberships = {one.stored: one.membership for one in seen}
                window = window.without([stored for stored in window.events if stored not in room.memberships])
                room.events = window.events
            room.window = window
            room.limited, room.start, room.companions = window.limited, window.start, window.companions
            room.changed = window.state_after()
            room.state = {key: stored for key, stored in room.changed.items() if room.wish.required.includes(key)}
            if not room.wish.limit:
                room.limited = room.limited or bool(room.events)
                room.events, room.start = (), room.upto if room.events else room.start

    async def _begin(self, rooms: Collection[Room], viewer: Viewer) -> None:
        """Read the last events of rooms."""
        alike: dict[tuple[int, int], list[Room]] = {}
        for room in rooms:
            alike.setdefault((room.wish.limit, room.upto), []).append(room)
        for (limit, upto), some in alike.items():
            read = await self._timeline.unbroken(
                await self._timeline.recent_in_rooms(
                    dict.fromkeys((room.room_id for room in some), 0), upto=upto, limit=max(limit, 1)
                )
            )
            for room in some:
                stretch = read[room.room_id]
                room.events = stretch.events if limit else ()
                room.limited = stretch.limited or (not limit and bool(stretch.events))
                room.start = room.events[0].place.position - 1 if room.events else upto
        all_events = [stored for room in rooms for stored in room.events]
        visible, companions = await together(
            self._visibility.seen(viewer.user_id, all_events), companions_of(all_events, self._timeline)
        )
        seen = {one.stored: one.membership for one in visible}
        for room in rooms:
            room.events = [stored for stored in room.events if stored in seen]
            room.memberships = seen
            room.companions = {**room.companions, **companions}

    async def _add_state(self, rooms: Collection[Room]) -> None:
        """Add the state that a client asks for and does not have."""
        inside = {room.room_id: room for room in rooms if room.is_inside}
        named = {
            room.room_id: {*room.asked.keys(), *((_NAME, _AVATAR) if room.initial else ())} for room in inside.values()
        }
        for room_id, state in (await self._state.current_in_rooms(named)).items():
            inside[room_id].take(state)
        for types, but, some in _by_kinds(inside.values()):
            for room_id, state in (await self._state.current_kinds_in_rooms(some, types, but=but)).items():
                inside[room_id].take(state)
        for room in rooms:
            if not room.is_inside and room.left is not None:
                # What is set now is none of their business.
                room.take(await self._state.of_room_at(room.left))
        asked_for = [stored for room in rooms for stored in room.state.values()]
        companions = await companions_of(asked_for, self._timeline)
        for room in rooms:
            room.companions = {**room.companions, **companions}

    async def sections(
        self, viewer: Viewer, conn_id: str, rooms: Collection[Room], since: int | None
    ) -> dict[RoomId, orjson.Fragment]:
        """Return what the client is told of rooms that have been read."""
        facts = await self._facts(viewer, rooms)
        await self._add_members(viewer, conn_id, rooms, since)
        reader = Reader(viewer.user_id, viewer.device_id)
        await self._unanswered.wait(reader, (stored for room in rooms for stored in room.events))
        now_ms = self._clock.now_ms()
        return {
            room.room_id: orjson.Fragment(orjson.dumps(_section(room, facts, reader, since, now_ms))) for room in rooms
        }

    async def _facts(self, viewer: Viewer, rooms: Collection[Room]) -> _Facts:
        inside = [room.room_id for room in rooms if room.is_inside]
        upto = max((room.upto for room in rooms if room.is_inside), default=0)
        gappy = [stored for room in rooms if room.begins or room.limited for stored in room.events]
        (summaries, names), counts, bumps, aggregations = await together(
            self._summed_up(viewer, [room for room in rooms if room.is_inside]),
            self._counts.by_thread(viewer.user_id, inside, upto),
            self._bumps(rooms),
            self._aggregations.of(viewer.user_id, gappy),
        )
        return _Facts(summaries, names, counts, bumps, aggregations)

    async def _summed_up(
        self, viewer: Viewer, rooms: Collection[Room]
    ) -> tuple[Mapping[RoomId, JsonObject], Mapping[RoomId, Mapping[StateKey, StoredEvent]]]:
        """Return what rooms are called by, as far as that may be new, and the members whom they are called by."""
        concerned = [room.room_id for room in rooms if room.initial or _changes_name(room)]
        summaries = await self._summaries.of(viewer.user_id, concerned)
        heroes = {
            room_id: [(MEMBER, str(hero)) for hero in summary["m.heroes"]]
            for room_id, summary in summaries.items()
            if summary.get("m.heroes")
        }
        return summaries, await self._state.current_in_rooms(heroes) if heroes else {}

    async def _bumps(self, rooms: Collection[Room]) -> dict[RoomId, int]:
        """Return when something proper last happened in rooms, as far as that is new."""
        bumped = [room for room in rooms if room.stripped is None and (room.initial or room.limited)]
        bumps: dict[RoomId, int] = {}
        if bumped:
            upto = max(room.upto for room in bumped)
            bumps.update(await self._activity.bumps([room.room_id for room in bumped], upto))
        for room in rooms:
            positions = [e.place.position for e in room.events if e.event.type in BUMPING]
            if positions and not room.begins:
                bumps[room.room_id] = max(positions)
            if not room.is_inside and room.member is not None:
                bumps[room.room_id] = room.member.position
        return bumps

    async def _add_members(self, viewer: Viewer, conn_id: str, rooms: Collection[Room], since: int | None) -> None:
        """Add the members whose events are shown, as far as the client does not know them."""
        lazily = {room.room_id: room for room in rooms if room.wish.required.lazy_members and room.stripped is None}
        wanted: dict[RoomId, list[StateKey]] = {}
        for room in lazily.values():
            # A client that has a gap forgets whom it knew, and a timeline told anew may be the answer to a lost one.
            told = self._members.of((viewer.session_id, conn_id, room.room_id), anew=room.begins or room.limited)
            if not room.limited:
                room.state |= {key: stored for key, stored in room.changed.items() if key[0] == MEMBER}
            shown = {str(stored.event.sender) for stored in room.events}
            shown |= {str(e.event.state_key) for e in room.events if e.event.type == MEMBER}
            # Of a room that was left out, nothing was told since then.
            told_upto = -1 if since is None else min(since, room.after) if room.after else since
            known = {user for user, position in told.items() if position <= told_upto}
            lacking = [(MEMBER, user) for user in shown - known if (MEMBER, user) not in room.state]
            if lacking:
                wanted[room.room_id] = lacking
            for user in shown | {state_key for event_type, state_key in room.state if event_type == MEMBER}:
                told.setdefault(user, room.upto)
        inside = {room_id: keys for room_id, keys in wanted.items() if lazily[room_id].is_inside}
        if inside:
            for room_id, state in (await self._state.current_in_rooms(inside)).items():
                lazily[room_id].state |= state
        for room_id, keys in wanted.items():
            if (left := lazily[room_id].left) is not None:
                lazily[room_id].state |= await self._state.at(left, keys)


def _by_kinds(rooms: Iterable[Room]) -> Iterable[tuple[frozenset[str] | None, str | None, list[RoomId]]]:
    """Group rooms by the types of which all state is asked for (None: all types, but for one)."""
    alike: dict[tuple[frozenset[str] | None, str | None], list[RoomId]] = {}
    for room in rooms:
        if room.asked.wants_all_types:
            but = None if room.asked.wants_all_members else MEMBER
            alike.setdefault((None, but), []).append(room.room_id)
        elif types := room.asked.types():
            alike.setdefault((types, None), []).append(room.room_id)
    return [(types, but, some) for (types, but), some in alike.items()]


def _changes_name(room: Room) -> bool:
    return any(key[0] == MEMBER or key in (_NAME, _ALIAS) for key in room.changed)


def _section(room: Room, facts: _Facts, reader: Reader, since: int | None, now_ms: int) -> dict[str, Any]:
    """Return what the client is told of a room; what is absent has not changed."""
    section: dict[str, Any] = {"membership": room.membership}
    if room.wish.lists:
        section["lists"] = list(dict.fromkeys(room.wish.lists))
    if room.initial:
        section["initial"] = True
    if (bump := facts.bumps.get(room.room_id)) is not None:
        section["bump_stamp"] = bump
    if room.is_dm is not None:
        section["is_dm"] = room.is_dm
    if room.stripped is not None:
        section["invite_state"] = section["stripped_state"] = [orjson.Fragment(event) for event in room.stripped]
        return section

    def render(stored: StoredEvent, membership: str | None) -> orjson.Fragment:
        encoded = client_event_for(
            stored,
            reader,
            now_ms,
            companions=room.companions,
            membership=membership,
            aggregation=None if membership is None else facts.aggregations.get(stored.event.event_id),
            with_room_id=False,
        )
        return orjson.Fragment(encoded)

    section["required_state"] = [render(stored, None) for stored in room.state.values()]
    if room.events or room.limited or room.begins:
        section["timeline"] = [
            render(stored, "join" if not room.memberships else room.memberships.get(stored)) for stored in room.events
        ]
        section["prev_batch"] = encode_place(before_stretch(room.start, room.upto))
        section["limited"] = room.limited
        live = 0 if since is None else sum(stored.place.position > since for stored in room.events)
        section["num_live"] = live
    if room.more_timeline and not room.initial:
        section["unstable_expanded_timeline"] = section["expanded_timeline"] = True
    _add_names(section, room, facts)
    if (counts := facts.counts.get(room.room_id)) is not None:
        main = counts.get(MAIN, Count())
        section["notification_count"], section["highlight_count"] = main.notifications, main.highlights
    return section


def _add_names(section: dict[str, Any], room: Room, facts: _Facts) -> None:
    for field_name, key, content_key in (("name", _NAME, "name"), ("avatar", _AVATAR, "url")):
        if (stored := room.changed.get(key)) is not None:
            value = stored.event.content.get(content_key)
            if isinstance(value, str) and value:
                section[field_name] = value
            elif not room.initial:
                section[field_name] = None
    summary = facts.summaries.get(room.room_id)
    if summary is None:
        return
    section["joined_count"] = summary["m.joined_member_count"]
    section["invited_count"] = summary["m.invited_member_count"]
    if summary.get("m.heroes") and not section.get("name"):
        names = facts.names.get(room.room_id, {})
        section["heroes"] = [_hero(user_id, names.get((MEMBER, str(user_id)))) for user_id in summary["m.heroes"]]


def _hero(user_id: UserId, member: StoredEvent | None) -> dict[str, str]:
    hero = {"user_id": str(user_id)}
    for key in ("displayname", "avatar_url"):
        value = None if member is None else member.event.content.get(key)
        if isinstance(value, str):
            hero[key] = value
    return hero
