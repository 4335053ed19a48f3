"""Events that other servers send us, from their arrival to their place in the log.

What an event stands on and we lack is asked for at the server that sent it, within bounds: the events before it, or
else the state before it; and the events that vouch for it. Then `placement.py` judges it.

https://spec.matrix.org/v1.19/server-server-api/#checks-performed-on-receipt-of-a-pdu
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import structlog
import trio

from tricord.federation.errors import PeerError
from tricord.homeserver.rooms.cached_rooms import CachedRoom, CachedRooms
from tricord.homeserver.rooms.event_policy import EventPolicy
from tricord.homeserver.rooms.outliers import Outliers, in_order
from tricord.homeserver.rooms.placement import Arrival, Outcome, Placement, Verdict
from tricord.homeserver.rooms.state_map import EMPTY, NodeId, StateRoot
from tricord.homeserver.rooms.stored_event import StoredEvent
from tricord.homeserver.rooms.verification import Verifier
from tricord.homeserver.turns import Turns
from tricord.protocol.errors import Forbidden, MatrixError, NotFound
from tricord.protocol.events import Event, VerifiedEvent
from tricord.protocol.identifiers import EventId, RoomId, ServerName
from tricord.protocol.strict_json import JsonObject

# How often, and how far, we ask for the events before an event, until we ask for its state instead.
_ROUNDS = 3
_EARLIER_EVENTS = 50
# Up to this many missing pieces of a state are asked for one by one; more, all at once.
_SINGLE_EVENTS = 40
_AT_ONCE = 5
_SINGLE_EVENTS_AT_ONCE = 10
# So many missing auth events are asked for one by one, before whole chains are; and so often until that is given up.
_MOST_AUTH_EVENTS = 100
_MOST_REFUSALS = 3
# How long we ask, all in all, for what some events lack. Then they are judged by what is here.
_PATIENCE_SECONDS = 120

_logger = structlog.get_logger(__name__)


class Source(Protocol):
    """What can be asked of the server that sent an event."""

    async def missing_events(
        self,
        destination: ServerName,
        room_id: RoomId,
        earliest: Sequence[EventId],
        latest: Sequence[EventId],
        limit: int,
        min_depth: int,
    ) -> Sequence[JsonObject]:
        """Return events between some events and others."""
        ...

    async def event(self, destination: ServerName, event_id: EventId) -> JsonObject:
        """Return an event."""
        ...

    async def event_auth(self, destination: ServerName, room_id: RoomId, event_id: EventId) -> Sequence[JsonObject]:
        """Return the auth chain of an event."""
        ...

    async def state(
        self, destination: ServerName, room_id: RoomId, event_id: EventId
    ) -> tuple[Sequence[JsonObject], Sequence[JsonObject]]:
        """Return the state before an event, and its auth chain."""
        ...

    async def state_ids(
        self, destination: ServerName, room_id: RoomId, event_id: EventId
    ) -> tuple[Sequence[EventId], Sequence[EventId]]:
        """Return the ids of the state before an event, and those of its auth chain."""
        ...


class Receiver:
    """Takes in events of other servers."""

    def __init__(
        self,
        rooms: CachedRooms,
        outliers: Outliers,
        placement: Placement,
        verifier: Verifier,
        source: Source,
        policy: EventPolicy,
    ) -> None:
        self._rooms = rooms
        self._outliers = outliers
        self._placement = placement
        self._verifier = verifier
        self._source = source
        self._policy = policy
        # Each server for itself: who answers our questions slowly keeps nobody else waiting.
        self._turns: Turns[tuple[ServerName, RoomId]] = Turns()

    async def receive(self, origin: ServerName, room_id: RoomId, events: Sequence[Event]) -> dict[EventId, str | None]:
        """Take in events of one room, in their order; return for each what is wrong with it, None if nothing is.

        An event that was soft-failed is no fault of its sender's: nothing is wrong with it.
        """
        room = await self._rooms.room(room_id)
        if room is None:
            return {event.event_id: f"this server is not in {room_id}" for event in events}
        async with self._turns.of((origin, room_id)):
            placed = await self._placed({event.event_id for event in events})
            results: dict[EventId, str | None] = {
                event_id: "it was rejected before" if stored.rejected else None for event_id, stored in placed.items()
            }
            verified, wrong = await self._verifier.verified(e for e in events if e.event_id not in placed)
            results |= wrong
            wanted = {event.event_id for event in verified}
            arrivals = [Arrival(event) for event in verified]
            with trio.move_on_after(_PATIENCE_SECONDS) as patience:
                arrivals = await self._arrivals(origin, room, verified)
            if patience.cancelled_caught:
                _logger.info("events are placed without what was asked for", room_id=room_id, origin=origin)
            arrivals = await self._judged_by_policy(room_id, arrivals)
            outcomes = await self._placement.place(room_id, arrivals) if arrivals else {}
        for event_id in wanted:
            outcome = outcomes.get(event_id, Outcome(Verdict.NOT_PLACED, "it could not be placed"))
            results[event_id] = outcome.reason if outcome.verdict in (Verdict.REJECTED, Verdict.NOT_PLACED) else None
            if outcome.verdict is not Verdict.ACCEPTED:
                _logger.info(
                    f"an event was {outcome.verdict.value}",
                    event_id=event_id, room_id=room_id, origin=origin, reason=outcome.reason,
                )  # fmt: skip
        return results

    async def accept(self, origin: ServerName, event: VerifiedEvent) -> StoredEvent:
        """Take in an event that another server hands to us, to be sent on to the servers in the room.

        Raises Forbidden if it is not let in, NotFound if this server is not in the room.
        """
        room = await self._rooms.room(event.room_id)
        if room is None:
            raise NotFound(f"this server is not in {event.room_id}")
        async with self._turns.of((origin, event.room_id)):
            arrivals = await self._arrivals(origin, room, [event], forward=True)
            arrivals = await self._judged_by_policy(event.room_id, arrivals)
            outcomes = await self._placement.place(event.room_id, arrivals)
        outcome = outcomes[event.event_id]
        if outcome.verdict is not Verdict.ACCEPTED:
            raise Forbidden(outcome.reason)
        return (await self._outliers.known([event.event_id]))[event.event_id]

    async def keep(self, room_nid: int, events: Iterable[VerifiedEvent]) -> None:
        """Keep events without a place, such as the state of a room that we are about to join."""
        await self._outliers.keep(room_nid, events)

    async def _placed(self, event_ids: Collection[EventId]) -> dict[EventId, StoredEvent]:
        """Return those of the events that have been judged in their place already."""
        return {
            event_id: stored
            for event_id, stored in (await self._outliers.known(event_ids)).items()
            if stored.state_after != EMPTY
        }

    async def _arrivals(
        self, origin: ServerName, room: CachedRoom, events: Sequence[VerifiedEvent], *, forward: bool = False
    ) -> list[Arrival]:
        """Return the events, and those missing before them, with all that is needed to place them."""
        handed = {event.event_id for event in events}
        events, lacking = await self._with_earlier(origin, room, events)
        arrivals = []
        for event in events:
            arrival = Arrival(event, forward=forward and event.event_id in handed)
            if event.event_id in lacking:
                arrival = await self._with_state(origin, room, arrival)
            arrivals.append(arrival)
        await self.bring_auth_events(origin, room, events)
        return arrivals

    async def _judged_by_policy(self, room_id: RoomId, arrivals: Sequence[Arrival]) -> list[Arrival]:
        """Have the room's policy server recommend what arrives, if it has one (check 7)."""
        if not await self._policy.is_used_in(room_id):
            return list(arrivals)
        judged = list(arrivals)
        limiter = trio.CapacityLimiter(_AT_ONCE)

        async def judge(number: int, arrival: Arrival) -> None:
            async with limiter:
                try:
                    event = await self._policy.recommended(arrival.event)
                except MatrixError as reason:
                    judged[number] = replace(arrival, not_recommended=reason.message)
                else:
                    judged[number] = replace(arrival, event=event)

        async with trio.open_nursery() as nursery:
            for number, arrival in enumerate(arrivals):
                nursery.start_soon(judge, number, arrival)
        return judged

    async def _with_earlier(
        self, origin: ServerName, room: CachedRoom, events: Sequence[VerifiedEvent]
    ) -> tuple[list[VerifiedEvent], set[EventId]]:
        """Return events together with those between them and what is here, as far as they can be had.

        And which of them follow one that cannot.
        """
        found = {event.event_id: event for event in events}
        min_depth = None
        for _ in range(_ROUNDS):
            lacking = await self._lacking(found.values())
            if not lacking:
                return _in_their_order(found), lacking
            if min_depth is None:
                # What was before we came is history: it is not news, and fetched only when somebody reads it.
                min_depth = await self._outliers.first_depth(room.nid)
            try:
                pdus = await self._source.missing_events(
                    origin,
                    room.room_id,
                    [one.event_id for one in room.extremities],
                    sorted(lacking),
                    _EARLIER_EVENTS,
                    min_depth,
                )
            except PeerError as error:
                _logger.info(
                    "missing events were not to be had", room_id=room.room_id, origin=origin, reason=str(error)
                )
                break
            earlier = await self._verifier.read(pdus[:_EARLIER_EVENTS], room.version, room.room_id)
            placed = await self._placed([event.event_id for event in earlier])
            new = {
                e.event_id: e
                for e in earlier
                if e.event_id not in found and e.event_id not in placed and e.depth >= min_depth
            }
            if not new:
                break
            found |= new
        return _in_their_order(found), await self._lacking(found.values())

    async def _lacking(self, events: Collection[VerifiedEvent]) -> set[EventId]:
        """Return which events follow one that is neither here nor among them."""
        named = {event_id for event in events for event_id in event.prev_events}
        here = (await self._placed(named)).keys() | {event.event_id for event in events}
        return {event.event_id for event in events if not here >= set(event.prev_events)}

    async def _with_state(self, origin: ServerName, room: CachedRoom, arrival: Arrival) -> Arrival:
        """Return an arrival with the state before it, as its server knows it."""
        told = await self.told_state(origin, room, arrival.event)
        return arrival if told is None else Arrival(arrival.event, *told, forward=arrival.forward)

    async def told_state(
        self, origin: ServerName, room: CachedRoom, event: VerifiedEvent
    ) -> tuple[StateRoot, dict[NodeId, bytes]] | None:
        """Return the state before an event as a server tells it, and its new nodes; None if that cannot be had."""
        try:
            state_ids, auth_ids = await self._source.state_ids(origin, room.room_id, event.event_id)
            unknown = {*state_ids, *auth_ids} - (await self._outliers.known({*state_ids, *auth_ids})).keys()
            if len(unknown) > _SINGLE_EVENTS:
                state, auth_chain = await self._source.state(origin, room.room_id, event.event_id)
                pdus = [*auth_chain, *state]
            else:
                pdus = await self._single_events(origin, unknown)
        except PeerError as error:
            _logger.info("the state was not to be had", event_id=event.event_id, origin=origin, reason=str(error))
            return None
        await self._outliers.keep(room.nid, await self._verifier.read(pdus, room.version, room.room_id))
        return await self._outliers.state_of(room.room_id, state_ids)

    async def bring_auth_events(self, origin: ServerName, room: CachedRoom, events: Sequence[VerifiedEvent]) -> None:
        """See to it that the auth events of some events are here, asking the server that told of them."""
        own = {event.event_id for event in events}
        named = {auth_id for event in events for auth_id in event.auth_events} - own
        unknown = named - (await self._outliers.known(named)).keys()
        if not unknown:
            return
        # As a rule they are members, vouched for by what is here.
        single = await self._single_events(origin, sorted(unknown)[:_MOST_AUTH_EVENTS])
        found = await self._verifier.read(single, room.version, room.room_id)
        await self._outliers.keep(room.nid, found)
        unknown -= (await self._outliers.known(unknown)).keys()
        refusals = 0
        for event in events:
            if unknown.isdisjoint(event.auth_events) or refusals == _MOST_REFUSALS:
                continue
            try:
                pdus = await self._source.event_auth(origin, room.room_id, event.event_id)
            except PeerError as error:
                refusals += 1
                _logger.info(
                    "auth events were not to be had", event_id=event.event_id, origin=origin, reason=str(error)
                )
                continue
            chain = await self._verifier.read(pdus, room.version, room.room_id)
            await self._outliers.keep(room.nid, [one for one in chain if one.event_id not in own])
            unknown -= {one.event_id for one in chain}

    async def _single_events(self, origin: ServerName, event_ids: Iterable[EventId]) -> list[JsonObject]:
        pdus: list[JsonObject] = []
        limiter = trio.CapacityLimiter(_SINGLE_EVENTS_AT_ONCE)

        async def fetch(event_id: EventId) -> None:
            async with limiter:
                with contextlib.suppress(PeerError):
                    pdus.append(await self._source.event(origin, event_id))

        async with trio.open_nursery() as nursery:
            for event_id in event_ids:
                nursery.start_soon(fetch, event_id)
        return pdus


def _in_their_order(events: Mapping[EventId, VerifiedEvent]) -> list[VerifiedEvent]:
    return list(in_order(events, lambda event: event.prev_events))
