"""History that other servers have and we lack, fetched when somebody reads up to it.

What is fetched stands before the event it leads up to, and is judged like any event: signed, vouched for, and allowed
by the state before it, which is asked for where the fetched part begins.

https://spec.matrix.org/v1.19/server-server-api/#backfilling-and-retrieving-missing-events
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import structlog
import trio

from tricord.federation.calls import Peers
from tricord.federation.errors import PeerError
from tricord.homeserver.rooms.cached_rooms import CachedRoom, CachedRooms
from tricord.homeserver.rooms.chain_rows import relation_of
from tricord.homeserver.rooms.event_numbers import EventNumbers
from tricord.homeserver.rooms.node_cache import NodeCache
from tricord.homeserver.rooms.outliers import Outliers, in_order
from tricord.homeserver.rooms.partial_rooms import PartialRooms
from tricord.homeserver.rooms.placement import rejection_by_auth_events
from tricord.homeserver.rooms.receive import Receiver
from tricord.homeserver.rooms.residence import Residence
from tricord.homeserver.rooms.resolution import StateResolver
from tricord.homeserver.rooms.state_map import EMPTY, NodeId, Overlay, StateRoot, apply, get_many
from tricord.homeserver.rooms.stored_event import StateKey, StoredEvent
from tricord.homeserver.rooms.verification import Verifier
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.events import events_by_nid
from tricord.homeserver.storage.history import HistoryRow, Part, new_part, write_history
from tricord.protocol.authorization import auth_event_keys, authorize
from tricord.protocol.errors import EventRejected, ResolutionTooLarge
from tricord.protocol.events import VerifiedEvent
from tricord.protocol.identifiers import EventId, RoomId, ServerName

_SERVERS = 3
_EVENTS = 100
# How much is fetched around an event that somebody jumps to.
_EVENTS_OF_A_PART = 30
_MOST_HOLES = 20
# How long a hole that nobody could fill is left alone.
_PAUSE_SECONDS = 120
_MOST_REMEMBERED = 10_000
_CREATE: StateKey = ("m.room.create", "")

_logger = structlog.get_logger(__name__)


class Backfill:
    """Fills holes in the history of rooms."""

    def __init__(
        self,
        database: Database,
        rooms: CachedRooms,
        nodes: NodeCache,
        residence: Residence,
        partial_rooms: PartialRooms,
        peers: Peers,
        verifier: Verifier,
        outliers: Outliers,
        receiver: Receiver,
        resolver: StateResolver,
    ) -> None:
        self._database = database
        self._rooms = rooms
        self._nodes = nodes
        self._residence = residence
        self._partial_rooms = partial_rooms
        self._peers = peers
        self._verifier = verifier
        self._outliers = outliers
        self._receiver = receiver
        self._resolver = resolver
        self._numbers = EventNumbers(database)
        self._left_alone: dict[int, float] = {}
        self._under_way: dict[RoomId, trio.Event] = {}

    async def fill(self, room_id: RoomId, gaps: Sequence[StoredEvent]) -> bool:
        """Fetch what is missing before some events; return whether anything was."""
        now = trio.current_time()
        wanted = [stored for stored in gaps if self._left_alone.get(stored.nid, 0) <= now]
        if not wanted:
            return False
        if (under_way := self._under_way.get(room_id)) is not None:
            await under_way.wait()
            return True
        async with self._turn(room_id):
            # What was before the join is judged by states with all their members.
            await self._partial_rooms.until_complete(room_id)
            room = await self._rooms.room(room_id)
            filled = room is not None and await self._fetch(room, wanted[:_MOST_HOLES])
        if not filled:
            self._left_alone |= {stored.nid: now + _PAUSE_SECONDS for stored in wanted}
            while len(self._left_alone) > _MOST_REMEMBERED:
                del self._left_alone[next(iter(self._left_alone))]
        return filled

    async def fetch_part(self, server: ServerName, room_id: RoomId, event_id: EventId) -> bool:
        """Fetch an event of long ago, with some before it, though not all that came of it; return whether it is here.

        They make a part of their own in the history, between the parts that are here.
        """
        while (under_way := self._under_way.get(room_id)) is not None:
            await under_way.wait()
        async with self._turn(room_id):
            await self._partial_rooms.until_complete(room_id)
            room = await self._rooms.room(room_id)
            new = {} if room is None else await self._fetched(server, room, [event_id], _EVENTS_OF_A_PART)
            if room is None or event_id not in new:
                return False
            part = await self._database.read(new_part, room.nid, new[event_id].depth)
            if part is None:
                return False
            return await self._place(server, room, _reached([event_id], new, part, {}), new)

    @asynccontextmanager
    async def _turn(self, room_id: RoomId) -> AsyncIterator[None]:
        """Fetch history of a room, and nobody else does in this process."""
        done = self._under_way[room_id] = trio.Event()
        try:
            yield
        finally:
            del self._under_way[room_id]
            done.set()

    async def _fetch(self, room: CachedRoom, holes: Sequence[StoredEvent]) -> bool:
        for server in (await self._residence.servers_in(room.room_id))[:_SERVERS]:
            new = await self._fetched(server, room, [stored.event.event_id for stored in holes], _EVENTS)
            if new and await self._place(server, room, _parts(holes, new), new):
                return True
        return False

    async def _fetched(
        self, server: ServerName, room: CachedRoom, event_ids: Sequence[EventId], limit: int
    ) -> dict[EventId, VerifiedEvent]:
        """Return events and what came before them, as far as a server has it and it has no place here."""
        try:
            pdus = await self._peers.backfill(server, room.room_id, event_ids, limit)
        except PeerError as error:
            _logger.info("history was not to be had", room_id=room.room_id, server=server, reason=str(error))
            return {}
        events = await self._verifier.read(pdus[: 2 * _EVENTS], room.version, room.room_id)
        placed = await self._outliers.known([event.event_id for event in events])
        return {e.event_id: e for e in events if (known := placed.get(e.event_id)) is None or known.position is None}

    async def _place(
        self,
        server: ServerName,
        room: CachedRoom,
        parts: Mapping[EventId, Part],
        events: Mapping[EventId, VerifiedEvent],
    ) -> bool:
        ordered = [one for one in in_order(events, lambda event: event.prev_events) if one.event_id in parts]
        await self._receiver.bring_auth_events(server, room, ordered)
        named = {id_ for event in ordered for id_ in (*event.prev_events, *event.auth_events)}
        history = _History(self, room, await self._outliers.heard_of(named | events.keys()))
        for event in ordered:
            await history.add(server, event)
        rows, missing, relations = history.rows(parts)
        if not rows:
            return False
        nodes = list(history.made.items())
        await self._database.run(write_history, room.nid, rows, nodes, missing, relations)
        self._nodes.add(history.made)
        _logger.info("history was fetched", room_id=room.room_id, server=server, events=len(rows))
        return True

    # What a part of history needs while it is put together.

    async def number(self) -> int:
        """Return the number for a new event."""
        return next(await self._numbers.take(1))

    async def state_before(
        self, server: ServerName, room: CachedRoom, event: VerifiedEvent
    ) -> tuple[StateRoot, Mapping[NodeId, bytes]] | None:
        """Return the state before an event as a server tells it."""
        return await self._receiver.told_state(server, room, event)

    async def resolved(
        self, room: CachedRoom, roots: set[StateRoot], pending: Mapping[int, StoredEvent], made: dict[NodeId, bytes]
    ) -> StateRoot:
        """Return the one state that stands for several."""
        if len(roots) == 1:
            return next(iter(roots))
        root, new = await self._resolver.resolve(room.version, roots, pending, made)
        made |= new
        return root

    async def state(
        self, root: StateRoot, keys: Sequence[StateKey], known: Mapping[int, StoredEvent], made: Mapping[NodeId, bytes]
    ) -> dict[StateKey, StoredEvent]:
        """Return some of a state."""
        nids = await self._nodes.using(lambda nodes: get_many(Overlay(made, nodes), root, keys))
        unknown = [nid for nid in nids.values() if nid not in known]
        events = {**known, **(await self._database.read(events_by_nid, unknown) if unknown else {})}
        return {key: events[nid] for key, nid in nids.items()}

    async def applied(self, root: StateRoot, key: StateKey, nid: int, made: dict[NodeId, bytes]) -> StateRoot:
        """Return a state with a key set."""
        after, new = await self._nodes.using(lambda nodes: apply(Overlay(made, nodes), root, {key: nid}))
        made |= new
        return after


def _parts(holes: Sequence[StoredEvent], events: Mapping[EventId, VerifiedEvent]) -> dict[EventId, Part]:
    """Return to which parts events belong: to that of the oldest hole from which they are reached."""
    parts: dict[EventId, Part] = {}
    for hole in sorted(holes, key=lambda stored: stored.place):
        _reached(hole.event.prev_events, events, Part.of(hole.place), parts)
    return parts


def _reached(
    start: Sequence[EventId], events: Mapping[EventId, VerifiedEvent], part: Part, parts: dict[EventId, Part]
) -> dict[EventId, Part]:
    """Add some events, and those before them, to a part, unless they are in one already."""
    waiting = list(start)
    while waiting:
        event_id = waiting.pop()
        if event_id in events and event_id not in parts:
            parts[event_id] = part
            waiting += events[event_id].prev_events
    return parts


class _History:
    """A part of a room's past that is being put together, oldest first."""

    def __init__(self, backfill: Backfill, room: CachedRoom, known: Mapping[EventId, StoredEvent]) -> None:
        self.made: dict[NodeId, bytes] = {}
        self._backfill = backfill
        self._room = room
        self._known = dict(known)
        self._added: list[StoredEvent] = []
        self._missing: list[tuple[str, int]] = []

    async def add(self, server: ServerName, event: VerifiedEvent) -> None:
        """Add an event, if it can be judged and is allowed."""
        auth = [known for id_ in event.auth_events if (known := self._known.get(id_)) and not known.unjudged]
        before = await self._state_before(server, event)
        if before is None or len(auth) < len(event.auth_events):
            return
        keys = [
            *auth_event_keys(event.type, event.sender, event.state_key, event.content, event.version),
            _CREATE,
        ]
        if event.state_key is not None:
            keys.append((event.type, event.state_key))
        by_nid = {stored.nid: stored for stored in self._known.values()}
        state = await self._backfill.state(before, keys, by_nid, self.made)
        try:
            authorize(event, {key: stored.event for key, stored in state.items()})
        except EventRejected:
            return
        if rejection_by_auth_events(event, auth, state.get(_CREATE)) is not None:
            return
        existing = self._known.get(event.event_id)
        nid = await self._backfill.number() if existing is None else existing.nid
        after, replaces = before, None
        if event.state_key is not None:
            key = (event.type, event.state_key)
            after = await self._backfill.applied(before, key, nid, self.made)
            replaced = state.get(key)
            replaces = None if replaced is None or replaced.nid == nid else replaced.event.event_id
        stored = StoredEvent(event, nid, None, after, replaces=replaces)
        self._missing += [
            (id_, nid)
            for id_ in event.prev_events
            if (previous := self._known.get(id_)) is None or previous.state_after == EMPTY
        ]
        self._known[event.event_id] = stored
        self._added.append(stored)

    def rows(
        self, parts: Mapping[EventId, Part]
    ) -> tuple[list[HistoryRow], list[tuple[str, int]], list[tuple[str, str, int, str, str]]]:
        """Return what is to be written, each at the beginning of its part: events, events missing, relations."""
        rows: list[HistoryRow] = []
        relations: list[tuple[str, str, int, str, str]] = []
        written: Counter[Part] = Counter()
        for stored in reversed(self._added):
            event = stored.event
            part = parts[event.event_id]
            written[part] += 1
            rows.append(
                HistoryRow(
                    self._room.nid,
                    stored.nid,
                    event.event_id,
                    *part,
                    written[part],
                    event.depth,
                    event.type,
                    event.state_key,
                    event.sender,
                    event.origin_server_ts,
                    stored.state_after,
                    stored.replaces,
                    None,
                    self._nids(event.prev_events),
                    self._nids(event.auth_events),
                    event.json,
                )
            )
            relation = relation_of(event)
            if relation is not None:
                relations.append((*relation, stored.nid, event.type, event.sender))
        return rows, self._missing, relations

    async def _state_before(self, server: ServerName, event: VerifiedEvent) -> StateRoot | None:
        if event.type == "m.room.create" and event.state_key == "":
            return EMPTY
        previous = [self._known.get(event_id) for event_id in event.prev_events]
        roots = {one.state_after for one in previous if one is not None}
        if previous and None not in previous and EMPTY not in roots:
            pending = {stored.nid: stored for stored in self._added}
            try:
                return await self._backfill.resolved(self._room, roots, pending, self.made)
            except ResolutionTooLarge:
                return None
        told = await self._backfill.state_before(server, self._room, event)
        if told is None:
            return None
        root, nodes = told
        self.made |= nodes
        return root

    def _nids(self, event_ids: Sequence[EventId]) -> str:
        return "{" + ",".join(str(self._known[id_].nid) for id_ in event_ids if id_ in self._known) + "}"
