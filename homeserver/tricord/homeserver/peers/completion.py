"""Fetching the members of rooms that were joined without them.

A room is a row of `partial_rooms`, so that the work goes on after a restart, and what has been fetched until then is
kept. The servers that are in the room are asked in turn; where none helps, they are asked again, more and more rarely.

https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1stateroomid
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Iterator, Sequence

import structlog
import trio

from tricord.federation.errors import PeerError, PeerRefused
from tricord.federation.peers import Peers
from tricord.homeserver.clock import Clock
from tricord.homeserver.peers.backfill import Backfill
from tricord.homeserver.peers.early_history import EarlyHistory
from tricord.homeserver.peers.removals import Removals
from tricord.homeserver.rooms.cached_rooms import CachedRooms
from tricord.homeserver.rooms.outliers import Outliers, in_order
from tricord.homeserver.rooms.partial_rooms import PartialRooms
from tricord.homeserver.rooms.receive import Receiver
from tricord.homeserver.rooms.residence import Residence
from tricord.homeserver.rooms.stored_event import StoredEvent
from tricord.homeserver.rooms.verification import Verifier, parsed
from tricord.homeserver.rooms.whole_state import WholeStates
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.errors import DatabaseError
from tricord.homeserver.storage.leases import try_leases
from tricord.homeserver.storage.partial_rooms import (
    PartialRoom,
    forget_postponed,
    note_fetched,
    note_trouble,
    postponed_events,
)
from tricord.protocol.errors import EventRejected, MatrixError
from tricord.protocol.events import Event, parse_event
from tricord.protocol.identifiers import ServerName
from tricord.protocol.room_versions import RoomVersion

_LEASE_KIND = 0xF111
_ROOMS_AT_ONCE = 2
# How many servers are asked, one after the other, before there is a pause.
_SERVERS_AT_A_TIME = 5
_LONGEST_PAUSE_SECONDS = 600.0
_EVENTS_AT_A_TIME = 1_000
_POSTPONED_AT_A_TIME = 50
# How long members wait for the newest history, which somebody will want to read first.
_FIRST_PAGE_SECONDS = 2
# Rooms of processes that are gone are taken up by others.
_LOOK_SECONDS = 60
_FORBIDDEN = 403
# A join that has no place by then never got one.
_JOINING_TAKES_MS = 15 * 60 * 1000

_logger = structlog.get_logger(__name__)
_uniform = secrets.SystemRandom().uniform


class Completing:
    """Completes rooms that were joined without their members."""

    def __init__(
        self,
        database: Database,
        peers: Peers,
        rooms: CachedRooms,
        partial_rooms: PartialRooms,
        whole_states: WholeStates,
        backfill: Backfill,
        early_history: EarlyHistory,
        removals: Removals,
        outliers: Outliers,
        verifier: Verifier,
        receiver: Receiver,
        residence: Residence,
        clock: Clock,
    ) -> None:
        self._database = database
        self._peers = peers
        self._rooms = rooms
        self._partial_rooms = partial_rooms
        self._whole_states = whole_states
        self._backfill = backfill
        self._early_history = early_history
        self._removals = removals
        self._outliers = outliers
        self._verifier = verifier
        self._receiver = receiver
        self._residence = residence
        self._clock = clock
        self._under_way: set[int] = set()
        self._limiter = trio.CapacityLimiter(_ROOMS_AT_ONCE)

    async def run(self) -> None:
        """Complete rooms, for ever."""
        async with trio.open_nursery() as nursery:
            while True:
                changed = self._partial_rooms.change
                try:
                    for partial in (await self._partial_rooms.all()).values():
                        is_work = partial.is_unfinished or partial.has_postponed
                        if is_work and partial.room_nid not in self._under_way:
                            self._under_way.add(partial.room_nid)
                            nursery.start_soon(self._finish, partial)
                except DatabaseError as error:
                    _logger.warning("rooms that are not complete could not be looked for", reason=str(error))
                with trio.move_on_after(_LOOK_SECONDS):
                    await changed.wait()

    async def _finish(self, partial: PartialRoom) -> None:
        """Complete a room, and take in what waits for that, unless another process is at it."""
        try:
            join = await self._placed_join(partial)
            if join is None:
                now = (await self._partial_rooms.all()).get(partial.room_id)
                if now is not None and now.join_event_id != partial.join_event_id:
                    # When it was joined anew, it may have been found to be under way.
                    self._partial_rooms.look_again()
                return
            async with self._limiter, self._database.session() as session:
                if await try_leases(session, _LEASE_KIND, [partial.room_nid % (1 << 31)]):
                    await self._begin_history(partial, join)
                    await self._complete(partial, join)
                    await self._judge_early_history(partial)
                    await self._take_in_postponed(partial)
        except DatabaseError as error:
            _logger.warning("completing a room is interrupted", room_id=partial.room_id, reason=str(error))
            await trio.sleep(_uniform(1, 5))
            self._partial_rooms.look_again()
        except Exception:  # one room must not keep the others from being completed
            _logger.exception("a room could not be completed", room_id=partial.room_id)
        finally:
            self._under_way.discard(partial.room_nid)

    async def _placed_join(self, partial: PartialRoom) -> StoredEvent | None:
        """Return our join once it is in its place; None if it does not get one."""
        while True:
            changed = self._partial_rooms.change
            if await self._is_over(partial):
                return None
            join = (await self._outliers.known([partial.join_event_id])).get(partial.join_event_id)
            if join is not None and join.position is not None:
                return join
            if self._clock.now_ms() - partial.started_ts > _JOINING_TAKES_MS:
                await self._partial_rooms.forget(partial.room_id)
                return None
            with trio.move_on_after(_LOOK_SECONDS):
                await changed.wait()

    async def _is_over(self, partial: PartialRoom) -> bool:
        """Return whether a room is another than it was: joined anew, or left, or completed by another process."""
        now = (await self._partial_rooms.all()).get(partial.room_id)
        return (
            now is None
            or now.join_event_id != partial.join_event_id
            or now.is_left
            or now.complete_position != partial.complete_position
        )

    async def _begin_history(self, partial: PartialRoom, join: StoredEvent) -> None:
        """Fetch the newest history first: it is little, and what whoever has joined wants to see."""
        if partial.complete_position is None:
            with trio.move_on_after(_FIRST_PAGE_SECONDS):
                await self._backfill.begin(partial, join)

    async def _judge_early_history(self, partial: PartialRoom) -> None:
        """Judge what was shown before the room was complete."""
        room = await self._rooms.room(partial.room_id)
        now = (await self._partial_rooms.all()).get(partial.room_id)
        if room is None or now is None or now.complete_position is None:
            return
        join = (await self._outliers.known([now.join_event_id])).get(now.join_event_id)
        if join is not None and join.position is not None:
            await self._early_history.judge(room, join)

    async def _complete(self, partial: PartialRoom, join: StoredEvent) -> None:
        """Fetch what was left out, however often it has to be tried."""
        for number in itertools.count(partial.tries):
            if partial.complete_position is not None or await self._is_over(partial):
                return
            if not await self._residence.is_in(partial.room_id):
                _logger.info("a room is left before it was complete", room_id=partial.room_id)
                await self._partial_rooms.leave(partial.room_nid)
                return
            trouble, is_shut_out = "", True
            for server in _some(partial.servers, number):
                try:
                    await self._fetch(server, partial, join)
                except (PeerError, EventRejected, MatrixError) as error:
                    trouble = f"{server}: {error}"
                    is_shut_out &= isinstance(error, PeerRefused) and error.status == _FORBIDDEN
                    _logger.info("a server did not complete a room", room_id=partial.room_id, reason=trouble)
                else:
                    return
            if is_shut_out:
                await self._removals.take_in(partial)
                if not await self._residence.is_in(partial.room_id):
                    continue
            await self._database.run(note_trouble, partial.room_nid, trouble)
            pause = min(2.0**number, _LONGEST_PAUSE_SECONDS)
            _logger.warning(
                "a room is not complete yet", room_id=partial.room_id, tries=number + 1, reason=trouble,
                next_try_in_seconds=round(pause),
            )  # fmt: skip
            await trio.sleep(_uniform(pause * 0.75, pause * 1.25))

    async def _fetch(self, server: ServerName, partial: PartialRoom, join: StoredEvent) -> None:
        room = await self._rooms.room(partial.room_id)
        if room is None:
            raise DatabaseError(f"{partial.room_id} is gone")
        begun = trio.current_time()
        pdus, auth_chain = await self._peers.state(server, partial.room_id, partial.join_event_id)
        state = await parsed(pdus, room.version, partial.room_id)
        told = await parsed(auth_chain, room.version, partial.room_id) | state
        known = await self._outliers.known(told.keys())
        new = list(in_order({e: event for e, event in told.items() if e not in known}, lambda event: event.auth_events))
        for start in range(0, len(new), _EVENTS_AT_A_TIME):
            events, _ = await self._verifier.verified(new[start : start + _EVENTS_AT_A_TIME])
            await self._outliers.keep(room.nid, events)
            if len(new) > _EVENTS_AT_A_TIME:
                here = len(told) - len(new) + min(start + _EVENTS_AT_A_TIME, len(new))
                await self._database.run(note_fetched, room.nid, here, len(told))
                _logger.info(
                    "a room is being completed", room_id=partial.room_id, through=server,
                    events=min(start + _EVENTS_AT_A_TIME, len(new)), of=len(new),
                )  # fmt: skip
        whole = await self._outliers.state_of(partial.room_id, state.keys())
        if whole is None:
            raise EventRejected(f"no create event of {partial.room_id} is told")
        await self._whole_states.complete(partial, join, *whole)
        _logger.info(
            "a room is complete", room_id=partial.room_id, through=server,
            state_events=len(state), seconds=round(trio.current_time() - begun, 2),
        )  # fmt: skip

    async def _take_in_postponed(self, partial: PartialRoom) -> None:
        """Take in what came before the room was complete, in the order in which it came."""
        room = await self._rooms.room(partial.room_id)
        while room is not None:
            waiting = await self._database.read(postponed_events, partial.room_nid, _POSTPONED_AT_A_TIME)
            if not waiting:
                break
            for origin, of_origin in itertools.groupby(waiting, lambda one: one[1]):
                pdus = [pdu for _, _, pdu in of_origin]
                await self._receiver.receive(origin, partial.room_id, list(_events(pdus, room.version)))
            await self._database.run(forget_postponed, [number for number, _, _ in waiting])
        self._partial_rooms.look_again()


def _some(servers: Sequence[ServerName], number: int) -> Iterator[ServerName]:
    """Return the servers to ask the next time: first the one we joined through, then others, and others again."""
    for place in range(min(_SERVERS_AT_A_TIME, len(servers))):
        yield servers[(number * _SERVERS_AT_A_TIME + place) % len(servers)]


def _events(pdus: Sequence[bytes], version: RoomVersion) -> Iterator[Event]:
    for pdu in pdus:
        try:
            yield parse_event(pdu, version)
        except MatrixError as error:
            _logger.info("what is no event was left out", reason=error.message)
