"""History that other servers have and we lack, fetched when somebody reads up to it.

What is fetched stands before the event it leads up to, and is judged like any event: signed, vouched for, and allowed
by the state before it. That is known as long as nothing has changed the room since; before that, it is asked for where
the fetched part begins.

https://spec.matrix.org/v1.19/server-server-api/#backfilling-and-retrieving-missing-events
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager

import structlog
import trio

from tricord.federation.errors import PeerError
from tricord.federation.peers import Peers
from tricord.homeserver.peers.early_history import EarlyHistory
from tricord.homeserver.peers.past import Past, PastStates
from tricord.homeserver.peers.trunk import trunk
from tricord.homeserver.rooms.cached_rooms import CachedRoom, CachedRooms
from tricord.homeserver.rooms.history import Filling
from tricord.homeserver.rooms.node_cache import NodeCache
from tricord.homeserver.rooms.outliers import Outliers, in_order
from tricord.homeserver.rooms.partial_rooms import PartialRooms
from tricord.homeserver.rooms.receive import Receiver
from tricord.homeserver.rooms.residence import Residence
from tricord.homeserver.rooms.stored_event import StoredEvent
from tricord.homeserver.rooms.verification import Verifier
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.errors import UniqueViolation
from tricord.homeserver.storage.history import Part, new_part, write_history
from tricord.homeserver.storage.partial_rooms import PartialRoom
from tricord.protocol.events import VerifiedEvent
from tricord.protocol.identifiers import EventId, RoomId, ServerName

_SERVERS = 3
_EVENTS = 100
# How much is fetched around an event that somebody jumps to.
_EVENTS_OF_A_PART = 30
# How much is fetched at a time while the room is being completed: as much as somebody reads at once.
_EARLY_EVENTS = 30
_MOST_HOLES = 20
# How often one server is asked in a row, if the rules refuse all that it tells.
_ROUNDS = 5
# How long a hole that nobody could fill is left alone.
_PAUSE_SECONDS = 120
_MOST_REMEMBERED = 10_000

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
        states: PastStates,
        early: EarlyHistory,
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
        self._states = states
        self._early = early
        self._left_alone: dict[int, float] = {}
        self._under_way: dict[RoomId, trio.Event] = {}

    async def fill(self, room_id: RoomId, gaps: Sequence[StoredEvent], *, patiently: bool = True) -> Filling:
        """Fetch what is missing before some events.

        In a room that is not complete yet, that may take long: `patiently`, it is waited for.
        """
        now = trio.current_time()
        wanted = [stored for stored in gaps if self._left_alone.get(stored.nid, 0) <= now]
        if not wanted:
            return Filling.NOTHING
        if (under_way := self._under_way.get(room_id)) is not None:
            await under_way.wait()
            return Filling.SOME
        async with self._turn(room_id):
            partial = (await self._partial_rooms.all()).get(room_id)
            if partial is not None and partial.is_left:
                return Filling.NOTHING
            if partial is not None and partial.is_unfinished:
                if await self._fetch_early(partial, wanted):
                    return Filling.SOME
                if not patiently:
                    return Filling.LATER
                # What remains is judged by states with all their members.
                await self._partial_rooms.until_complete(room_id)
            room = await self._rooms.room(room_id)
            filled = room is not None and await self._fetch(room, wanted[:_MOST_HOLES])
        if filled:
            return Filling.SOME
        self._left_alone |= {stored.nid: now + _PAUSE_SECONDS for stored in wanted}
        while len(self._left_alone) > _MOST_REMEMBERED:
            del self._left_alone[next(iter(self._left_alone))]
        return Filling.NOTHING

    async def begin(self, partial: PartialRoom, join: StoredEvent) -> None:
        """Fetch the newest history of a room that this server has joined, or wait for who is at it."""
        if (under_way := self._under_way.get(partial.room_id)) is not None:
            await under_way.wait()
            return
        async with self._turn(partial.room_id):
            await self._fetch_early(partial, [join])

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
            return await self._place(server, room, _reached([event_id], new, part, {}), new, ())

    @asynccontextmanager
    async def _turn(self, room_id: RoomId) -> AsyncIterator[None]:
        """Fetch history of a room, and nobody else does in this process."""
        done = self._under_way[room_id] = trio.Event()
        try:
            yield
        finally:
            del self._under_way[room_id]
            done.set()

    async def _fetch_early(self, partial: PartialRoom, holes: Sequence[StoredEvent]) -> bool:
        """Fetch what can be shown before the room is complete; return whether anything can."""
        room = await self._rooms.room(partial.room_id)
        hole = await self._early.hole(partial, holes)
        if room is None or hole is None or not partial.servers:
            return False
        # Only the server whose word we take for the room as it is.
        server = partial.servers[0]
        new = await self._fetched(server, room, [hole.event.event_id], _EARLY_EVENTS)
        return bool(new) and await self._early.place(server, room, hole, new, _parts([hole], new))

    async def _fetch(self, room: CachedRoom, holes: Sequence[StoredEvent]) -> bool:
        for server in (await self._residence.servers_in(room.room_id))[:_SERVERS]:
            if await self._fetch_from(server, room, holes):
                return True
        return False

    async def _fetch_from(self, server: ServerName, room: CachedRoom, holes: Sequence[StoredEvent]) -> bool:
        """Fetch what is missing from one server; where it is nothing but what the rules refuse, what is behind that."""
        found: dict[EventId, VerifiedEvent] = {}
        event_ids = [stored.event.event_id for stored in holes]
        for _ in range(_ROUNDS):
            new = await self._fetched(server, room, event_ids, _EVENTS)
            if new.keys() <= found.keys():
                return False
            found |= new
            if await self._place(server, room, _parts(holes, found), found, holes):
                return True
            event_ids = [one.event_id for one in new.values() if not found.keys() >= set(one.prev_events)][:_MOST_HOLES]
            if not event_ids:
                return False
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
        # "The response of backfill MUST NOT be validated on these specific restrictions":
        # https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1backfillroomid
        events = await self._verifier.read(pdus[: 2 * limit], room.version, room.room_id, any_number_of_references=True)
        placed = await self._outliers.known([event.event_id for event in events])
        return {e.event_id: e for e in events if (known := placed.get(e.event_id)) is None or known.position is None}

    async def _place(
        self,
        server: ServerName,
        room: CachedRoom,
        parts: Mapping[EventId, Part],
        events: Mapping[EventId, VerifiedEvent],
        holes: Sequence[StoredEvent],
    ) -> bool:
        ordered = [one for one in in_order(events, lambda event: event.prev_events) if one.event_id in parts]
        await self._receiver.bring_auth_events(server, room, ordered)
        named = {id_ for event in ordered for id_ in (*event.prev_events, *event.auth_events)}
        known = await self._outliers.heard_of(named | events.keys())
        past = Past(self._states, room, known, await self._states.redactions(events))
        await self._add(past, server, ordered, holes)
        history = past.batch(parts)
        if not history.rows:
            return False
        try:
            await self._database.run(write_history, room.nid, history)
        except UniqueViolation:
            return True  # another process has just fetched the same
        self._nodes.add(past.made)
        _logger.info("history was fetched", room_id=room.room_id, server=server, events=len(history.rows))
        return True

    async def _add(
        self, past: Past, server: ServerName, ordered: Iterable[VerifiedEvent], holes: Sequence[StoredEvent]
    ) -> None:
        """Add events, oldest first: those whose state follows from that of what they lead up to with that state."""
        events = {event.event_id: event for event in ordered}
        sure: set[EventId] = set()
        if len(holes) == 1:
            (hole,) = holes
            line = trunk(hole.event.prev_events, events, lambda event, _is_alone: event.is_state)
            before, made = await self._states.before(hole)
            past.made |= made
            sure = {event.event_id for event in line}
        for event in events.values():
            if event.event_id in sure:
                await past.add_at(before, event)
            else:
                await past.add(server, event)


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
