"""Putting events of other servers in their place in a room: the checks 4 to 7 on receipt of a PDU, and the forks.

Here everything is known that the checks need; `receive.py` sees to that, and has asked for check 7. What is computed
here is computed against the room's head and written only if the room is still there, as for local events.

https://spec.matrix.org/v1.19/server-server-api/#checks-performed-on-receipt-of-a-pdu
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from tricord.homeserver.rooms.append import Log
from tricord.homeserver.rooms.cached_rooms import CachedRoom, CachedRooms
from tricord.homeserver.rooms.event_numbers import EventNumbers
from tricord.homeserver.rooms.moves import Extremity
from tricord.homeserver.rooms.node_cache import NodeCache
from tricord.homeserver.rooms.resolution import StateResolver
from tricord.homeserver.rooms.room_write import Link, RoomWrite
from tricord.homeserver.rooms.state_map import EMPTY, NodeId, Overlay, StateRoot, apply, difference, get_many
from tricord.homeserver.rooms.stored_event import StateKey, StoredEvent
from tricord.homeserver.storage.database import Database, Transaction
from tricord.homeserver.storage.errors import DatabaseError, UniqueViolation
from tricord.homeserver.storage.events import events_by_id, events_by_nid
from tricord.homeserver.storage.missing_events import named_as_missing, redactions_waiting_for
from tricord.protocol.authorization import auth_event_keys, authorize, check_auth_events, may_redact
from tricord.protocol.errors import EventRejected, NotFound, ResolutionTooLarge
from tricord.protocol.events import VerifiedEvent, redacted_copy
from tricord.protocol.identifiers import EventId, RoomId

_CREATE: StateKey = ("m.room.create", "")
_POWER_LEVELS: StateKey = ("m.room.power_levels", "")
_MOST_TRIES = 20


class Verdict(Enum):
    """What became of an event."""

    ACCEPTED = "accepted"
    SOFT_FAILED = "soft-failed"
    REJECTED = "rejected"
    NOT_PLACED = "not placed"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an event, and why if it was not accepted."""

    verdict: Verdict
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Arrival:
    """An event to be placed."""

    event: VerifiedEvent
    state_before: StateRoot | None = None
    """The state before it as another server tells it, where not all of the events before it are here."""
    state_nodes: Mapping[NodeId, bytes] = field(default_factory=dict)
    """New nodes of that state."""
    forward: bool = False
    """Whether it came to us to be sent on to the other servers in the room."""
    not_recommended: str = ""
    """Why the room's policy server does not recommend it; empty if it does, or there is none."""
    starts_anew: bool = False
    """Whether it makes a room of what we knew before no longer: we were out of it."""


class Placement:
    """Places events."""

    def __init__(
        self, database: Database, log: Log, rooms: CachedRooms, nodes: NodeCache, resolver: StateResolver
    ) -> None:
        self._database = database
        self._log = log
        self._rooms = rooms
        self._nodes = nodes
        self._resolver = resolver
        self._numbers = EventNumbers(database)

    async def place(
        self, room_id: RoomId, arrivals: Sequence[Arrival], *, new_room: CachedRoom | None = None
    ) -> dict[EventId, Outcome]:
        """Place events of one room in their order; return what became of each.

        `new_room` is the room if it has no events in their places yet.
        """
        async with self._log.held(room_id):
            for number in range(_MOST_TRIES):
                # What nothing has happened in yet need not be read; if something just has, the write is refused.
                is_new = number == 0 and new_room is not None and new_room.head == 0
                room = new_room if is_new else await self._rooms.room(room_id) or new_room
                if room is None:
                    raise NotFound(f"there is no room {room_id} on this server")
                sorting = _Sorting(self, room)
                outcomes = await sorting.sort(arrivals)
                write = await sorting.settled()
                try:
                    if not write.links or await self._log.write(write):
                        return outcomes
                except UniqueViolation:
                    pass  # another process has just stored one of the events
                self._rooms.forget(room_id)
        raise DatabaseError(f"{room_id} is being written to by too many others")

    # What a sorting reads.

    async def events(self, event_ids: Collection[EventId]) -> dict[EventId, StoredEvent]:
        """Return those of the events that are here."""
        return await self._database.read(events_by_id, list(event_ids)) if event_ids else {}

    async def events_by_nid(self, nids: Collection[int]) -> dict[int, StoredEvent]:
        """Return events by their numbers."""
        return await self._database.read(events_by_nid, list(nids)) if nids else {}

    async def expectations(
        self, event_ids: Sequence[EventId]
    ) -> tuple[frozenset[EventId], Mapping[EventId, StoredEvent]]:
        """Return which events others name as coming before them, and the redactions that wait for some."""
        return await self._database.read(_expectations, event_ids)

    async def number(self) -> int:
        """Return the number for a new event."""
        return next(await self._numbers.take(1))

    async def states(
        self, wanted: Mapping[StateRoot, Collection[StateKey]], made: Mapping[NodeId, bytes]
    ) -> dict[StateRoot, dict[StateKey, int]]:
        """Return the numbers of the events that some states have under some keys."""
        return await self._nodes.using(
            lambda nodes: {root: get_many(Overlay(made, nodes), root, keys) for root, keys in wanted.items()}
        )

    async def applied(
        self, root: StateRoot, key: StateKey, nid: int, made: Mapping[NodeId, bytes]
    ) -> tuple[StateRoot, dict[NodeId, bytes]]:
        """Return a state with a key set."""
        return await self._nodes.using(lambda nodes: apply(Overlay(made, nodes), root, {key: nid}))

    async def changed(
        self, before: StateRoot, after: StateRoot, made: Mapping[NodeId, bytes]
    ) -> list[tuple[int | None, int | None]]:
        """Return the changes from one state to another."""
        return await self._nodes.using(lambda nodes: difference(Overlay(made, nodes), before, after))

    async def resolved(
        self,
        room: CachedRoom,
        roots: Collection[StateRoot],
        pending: Mapping[int, StoredEvent],
        made: dict[NodeId, bytes],
    ) -> StateRoot:
        """Return the one state that stands for several."""
        if len(set(roots)) == 1:
            return next(iter(roots))
        root, new = await self._resolver.resolve(room.version, roots, pending, made)
        made |= new
        return root


class _Sorting:
    """One computation of places against one head of a room."""

    def __init__(self, placement: Placement, room: CachedRoom) -> None:
        self._placement = placement
        self._room = room
        self._root = room.state_root
        self._extremities: dict[EventId, Extremity] = {one.event_id: one for one in room.extremities}
        self._known: dict[EventId, StoredEvent] = {}
        self._pending: dict[int, StoredEvent] = {}
        self._links: dict[EventId, Link] = {}
        self._made: dict[NodeId, bytes] = {}
        self._redacted: dict[EventId, StoredEvent] = {}
        self._missing: list[tuple[EventId, int]] = []
        self._waiting: list[tuple[EventId, int]] = []
        self._expected: frozenset[EventId] = frozenset()
        self._redactions: Mapping[EventId, StoredEvent] = {}

    async def sort(self, arrivals: Sequence[Arrival]) -> dict[EventId, Outcome]:
        """Find the place of each event."""
        ids = [arrival.event.event_id for arrival in arrivals]
        named = {
            id_
            for one in arrivals
            for id_ in (*one.event.prev_events, *one.event.auth_events, one.event.redacts)
            if id_
        }
        self._known = await self._placement.events(named | set(ids) | self._extremities.keys())
        self._expected, self._redactions = await self._placement.expectations(ids)
        outcomes: dict[EventId, Outcome] = {}
        for arrival in arrivals:
            try:
                outcomes[arrival.event.event_id] = await self._sort_one(arrival)
            except ResolutionTooLarge as error:
                outcomes[arrival.event.event_id] = Outcome(Verdict.NOT_PLACED, str(error))
        return outcomes

    async def settled(self) -> RoomWrite:
        """Return what is to be written."""
        changes: dict[StateKey, Link | StoredEvent | None] = {}
        if self._root != self._room.state_root:
            pairs = await self._placement.changed(self._room.state_root, self._root, self._made)
            events = await self._by_nid({nid for pair in pairs for nid in pair if nid is not None})
            for before, after in pairs:
                stored = events[after if after is not None else before or 0]
                if stored.key is not None:
                    became = None if after is None else stored
                    changes[stored.key] = became and self._links.get(became.event.event_id, became)
        return RoomWrite(
            room=self._room,
            links=list(self._links.values()),
            state_root=self._root,
            extremities=tuple(self._extremities.values()),
            nodes=self._made,
            state=changes,
            redacted=list(self._redacted.values()),
            missing=self._missing,
            waiting_redactions=self._waiting,
        )

    async def _sort_one(self, arrival: Arrival) -> Outcome:
        event = arrival.event
        existing = self._known.get(event.event_id)
        if existing is not None and (existing.position is not None or existing.rejected or existing.soft_failed):
            return _outcome_of(existing)
        auth = [known for id_ in event.auth_events if (known := self._known.get(id_)) and not known.unjudged]
        if len(auth) < len(event.auth_events):
            return Outcome(Verdict.NOT_PLACED, "not all of its auth events can be had")
        before = await self._state_before(arrival)
        if before is None:
            return Outcome(Verdict.NOT_PLACED, "not all of the events before it can be had")
        state = await self._state(before, event)
        rejection = rejection_by_auth_events(event, auth, state.get(_CREATE)) or _refusal(event, state)
        softly = arrival.not_recommended or None
        if rejection is None and softly is None and before != self._root and not arrival.starts_anew:
            softly = _refusal(event, await self._state(self._root, event))
        link = await self._link(arrival, existing, auth, before, state, rejection is not None, softly is not None)
        self._links[event.event_id] = link
        stored = link.stored(None)
        self._pending[link.nid] = self._known[event.event_id] = stored
        if rejection is not None:
            return Outcome(Verdict.REJECTED, rejection)
        if softly is not None:
            return Outcome(Verdict.SOFT_FAILED, softly)
        await self._move(arrival, link)
        self._redact(link, state)
        return Outcome(Verdict.ACCEPTED)

    async def _state_before(self, arrival: Arrival) -> StateRoot | None:
        """Return the state before an event, None if it is not known.

        What another server tells of it stands for those events before it that are not here. After the others the
        state is what we know ourselves: or whoever names one event that nobody has could empty a room.
        """
        previous = [self._known.get(event_id) for event_id in arrival.event.prev_events]
        roots = {EMPTY if one is None else one.state_after for one in previous}
        if arrival.state_before is not None:
            self._made |= arrival.state_nodes
            roots = {arrival.state_before} if arrival.starts_anew else (roots | {arrival.state_before}) - {EMPTY}
        if not roots or EMPTY in roots:
            return None  # of an outlier, the state is not known
        return await self._placement.resolved(self._room, roots, self._pending, self._made)

    async def _state(self, root: StateRoot, event: VerifiedEvent) -> dict[StateKey, StoredEvent]:
        """Return what the rules need of a state to judge an event, and what the event would replace."""
        keys = {
            *auth_event_keys(event.type, event.sender, event.state_key, event.content, event.version),
            _CREATE,
            _POWER_LEVELS,
        }
        if event.state_key is not None:
            keys.add((event.type, event.state_key))
        nids = (await self._placement.states({root: keys}, self._made))[root]
        events = await self._by_nid(nids.values())
        return {key: events[nid] for key, nid in nids.items()}

    async def _by_nid(self, nids: Iterable[int]) -> dict[int, StoredEvent]:
        by_nid = {one.nid: one for one in self._known.values()} | self._pending
        known = {nid: by_nid[nid] for nid in nids if nid in by_nid}
        read = await self._placement.events_by_nid([nid for nid in nids if nid not in known])
        self._known |= {stored.event.event_id: stored for stored in read.values()}
        return known | read

    async def _link(
        self,
        arrival: Arrival,
        existing: StoredEvent | None,
        auth: Sequence[StoredEvent],
        before: StateRoot,
        state: Mapping[StateKey, StoredEvent],
        rejected: bool,
        soft_failed: bool,
    ) -> Link:
        event = arrival.event
        nid = await self._placement.number() if existing is None else existing.nid
        previous = [self._known[event_id] for event_id in event.prev_events if event_id in self._known]
        key: StateKey | None = None if event.state_key is None else (event.type, event.state_key)
        after, replaces = before, None
        if key is not None and not rejected:
            after, made = await self._placement.applied(before, key, nid, self._made)
            self._made |= made
            replaces = state.get(key)
        because = None
        redaction = self._redactions.get(event.event_id)
        if redaction is not None and may_redact(redaction.event, event, _events(state)):
            event, because = redacted_copy(event), redaction.event.event_id
        return Link(
            event=event,
            nid=nid,
            prev_nids=tuple(one.nid for one in previous),
            auth_nids=tuple(one.nid for one in auth),
            replaces=None if replaces is None or replaces.nid == nid else replaces.event.event_id,
            redacted_because=because,
            state_after=after,
            rejected=rejected,
            soft_failed=soft_failed,
            forward=arrival.forward and not rejected and not soft_failed,
        )

    async def _move(self, arrival: Arrival, link: Link) -> None:
        """Let the room go on with an accepted event."""
        event = link.event
        ends = self._extremities
        follows_all = arrival.starts_anew or ends.keys() <= set(event.prev_events)
        for event_id in list(ends) if arrival.starts_anew else event.prev_events:
            ends.pop(event_id, None)
        self._missing += [(event_id, link.nid) for event_id in event.prev_events if not self._is_placed(event_id)]
        if event.event_id not in self._expected:
            ends[event.event_id] = Extremity(event.event_id, link.nid, event.depth)
        if follows_all and len(ends) == 1:
            self._root = link.state_after
        else:
            roots = {self._known[event_id].state_after for event_id in ends}
            self._root = await self._placement.resolved(self._room, roots, self._pending, self._made)
        if self._root != link.state_after:
            link.resolved_state = self._root

    def _is_placed(self, event_id: EventId) -> bool:
        """Return whether an event is in its place. An outlier is not: when it comes to it, others follow it already."""
        stored = self._known.get(event_id)
        return stored is not None and stored.state_after != EMPTY

    def _redact(self, link: Link, state: Mapping[StateKey, StoredEvent]) -> None:
        """Let a redaction take effect, now or when what it redacts comes."""
        redaction = link.event
        if redaction.redacts is None:
            return
        target = self._known.get(redaction.redacts)
        if target is None:
            self._waiting.append((redaction.redacts, link.nid))
        elif target.redacted_because is None and may_redact(redaction, target.event, _events(state)):
            pending = self._links.get(redaction.redacts)
            if pending is not None:
                pending.event, pending.redacted_because = redacted_copy(pending.event), redaction.event_id
            else:
                self._redacted[redaction.redacts] = target.redacted(redaction.event_id)


def _outcome_of(stored: StoredEvent) -> Outcome:
    if stored.rejected:
        return Outcome(Verdict.REJECTED, "it was rejected before")
    if stored.soft_failed:
        return Outcome(Verdict.SOFT_FAILED, "it was soft-failed before")
    return Outcome(Verdict.ACCEPTED)


def _events(state: Mapping[StateKey, StoredEvent]) -> dict[StateKey, VerifiedEvent]:
    return {key: stored.event for key, stored in state.items()}


def rejection_by_auth_events(
    event: VerifiedEvent, auth: Sequence[StoredEvent], create: StoredEvent | None
) -> str | None:
    """Return why an event is rejected by its own auth events (check 4); `create` is that of its room."""
    try:
        check_auth_events(event, [one.event for one in auth], [one.event.event_id for one in auth if one.rejected])
        state = {key: one.event for one in auth if (key := one.key) is not None}
        if create is not None:
            state.setdefault(_CREATE, create.event)
        authorize(event, state)
    except EventRejected as reason:
        return f"by its auth events: {reason}"
    return None


def _refusal(event: VerifiedEvent, state: Mapping[StateKey, StoredEvent]) -> str | None:
    try:
        authorize(event, _events(state))
    except EventRejected as reason:
        return str(reason)
    return None


async def _expectations(
    tx: Transaction, event_ids: Sequence[EventId]
) -> tuple[frozenset[EventId], Mapping[EventId, StoredEvent]]:
    named = await named_as_missing(tx, event_ids)
    return named, await redactions_waiting_for(tx, event_ids)
