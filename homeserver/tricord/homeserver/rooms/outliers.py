"""Events that are known without their place in the room: auth chains, and state that other servers tell of.

They are judged by their own auth events alone. One that fails is kept as rejected, so that it stays so.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import structlog
import trio

from tricord.homeserver.rooms.event_numbers import EventNumbers
from tricord.homeserver.rooms.node_cache import NodeCache
from tricord.homeserver.rooms.placement import rejection_by_auth_events
from tricord.homeserver.rooms.state_map import EMPTY, NodeId, StateRoot
from tricord.homeserver.rooms.stored_event import StateKey, StoredEvent
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.event_graph import first_depth
from tricord.homeserver.storage.events import events_by_id
from tricord.homeserver.storage.outliers import OutlierRow, accepted_state, insert_outliers
from tricord.homeserver.turns import Turns
from tricord.protocol.events import Event, VerifiedEvent
from tricord.protocol.identifiers import EventId, RoomId

E = TypeVar("E", bound=Event)

_AT_A_TIME = 500
_STATE_EVENTS_AT_A_TIME = 5_000
_CREATE: StateKey = ("m.room.create", "")

_logger = structlog.get_logger(__name__)


class Outliers:
    """Keeps events without a place."""

    def __init__(self, database: Database, nodes: NodeCache) -> None:
        self._database = database
        self._nodes = nodes
        self._numbers = EventNumbers(database)
        self._turns: Turns[int] = Turns()

    async def known(self, event_ids: Collection[EventId]) -> dict[EventId, StoredEvent]:
        """Return those of some events that are here and have been judged, with or without a place."""
        return {event_id: one for event_id, one in (await self.heard_of(event_ids)).items() if not one.unjudged}

    async def heard_of(self, event_ids: Collection[EventId]) -> dict[EventId, StoredEvent]:
        """Return those of some events that are here, also those that nobody could judge yet."""
        wanted = list(event_ids)
        found: dict[EventId, StoredEvent] = {}
        for start in range(0, len(wanted), _AT_A_TIME):
            found |= await self._database.read(events_by_id, wanted[start : start + _AT_A_TIME])
        return found

    async def first_depth(self, room_nid: int) -> int:
        """Return the depth at which a room began for this server: with its creation, or with the first join."""
        return await self._database.read(first_depth, room_nid)

    async def keep(self, room_nid: int, events: Iterable[VerifiedEvent]) -> None:
        """Keep events of one room that are not here yet; those whose auth events are nowhere cannot be judged.

        Such are left out, and whatever stands on them.
        """
        new = {event.event_id: event for event in events}
        # One after the other, or an event that two keep would go by two numbers.
        async with self._turns.of(room_nid):
            await self._keep(room_nid, new)

    async def _keep(self, room_nid: int, new: Mapping[EventId, VerifiedEvent]) -> None:
        named = {before for event in new.values() for before in _judged_by(event)}
        here = await self.heard_of(named | new.keys())
        judged = {event_id: stored for event_id, stored in here.items() if not stored.unjudged}
        rows: list[OutlierRow] = []
        numbers = await self._numbers.take(len(new))
        for count, event in enumerate(in_order(new, _judged_by)):
            if count % 50 == 0:
                await trio.lowlevel.checkpoint()
            if event.event_id in judged:
                continue
            auth = [judged[auth_id] for auth_id in event.auth_events if auth_id in judged]
            if len(auth) < len(event.auth_events):
                _logger.info("an event is left out: not all of its auth events are known", event_id=event.event_id)
                continue
            create = _create_id(event)
            reason = rejection_by_auth_events(event, auth, None if create is None else judged.get(create))
            if reason is not None:
                _logger.info("an event is rejected", event_id=event.event_id, reason=reason)
            nid = here[event.event_id].nid if event.event_id in here else next(numbers)
            stored = StoredEvent(event, nid, None, EMPTY, rejected=reason is not None)
            judged[event.event_id] = stored
            rows.append(_row(room_nid, stored, [one.nid for one in auth]))
        for start in range(0, len(rows), _AT_A_TIME):
            await self._database.run_one(insert_outliers, rows[start : start + _AT_A_TIME])

    async def state_of(
        self, room_id: RoomId, event_ids: Collection[EventId]
    ) -> tuple[StateRoot, dict[NodeId, bytes]] | None:
        """Return the state of a room that some events make up, and its new nodes.

        Of what is named, that counts which is here, of the room, and was let in. None if it has no create event: then
        it is no state.
        """
        state: dict[StateKey, int | None] = {}
        named = list(event_ids)
        for start in range(0, len(named), _STATE_EVENTS_AT_A_TIME):
            some = named[start : start + _STATE_EVENTS_AT_A_TIME]
            state |= await self._database.read(accepted_state, room_id, some)
        return await self._nodes.applied(EMPTY, state) if _CREATE in state else None


def in_order(events: Mapping[EventId, E], before: Callable[[E], Iterable[EventId]]) -> Iterator[E]:
    """Yield events so that each comes after those of them that are `before` it."""
    done: set[EventId] = set()
    opened: set[EventId] = set()
    for first in events:
        waiting = [first]
        while waiting:
            event_id = waiting[-1]
            # Ids that servers choose may lead in a circle: what has been opened once is not waited for again.
            new = [id_ for id_ in before(events[event_id]) if id_ in events and id_ not in opened]
            opened.add(event_id)
            if new:
                waiting += new
                continue
            waiting.pop()
            if event_id not in done:
                done.add(event_id)
                yield events[event_id]


def _judged_by(event: VerifiedEvent) -> list[EventId]:
    """Return the events that have to be judged before one can be."""
    create = _create_id(event)
    return list(event.auth_events) if create is None else [*event.auth_events, create]


def _create_id(event: VerifiedEvent) -> EventId | None:
    """Return the id of the create event in rooms that are named after it: no event names it, and the rules want it."""
    if not event.version.room_id_is_create_event_id or event.type == "m.room.create":
        return None
    return EventId("$" + event.room_id[1:])


def _row(room_nid: int, stored: StoredEvent, auth_nids: Sequence[int]) -> OutlierRow:
    event = stored.event
    return OutlierRow(
        room_nid,
        stored.nid,
        event.event_id,
        event.depth,
        event.type,
        event.state_key,
        event.sender,
        event.origin_server_ts,
        stored.rejected,
        "{" + ",".join(map(str, auth_nids)) + "}",
        event.json,
    )
