"""Transactions of other servers: each event for itself, rooms side by side, the same answer to the same transaction.

https://spec.matrix.org/v1.19/server-server-api/#transactions
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol

import orjson
import structlog
import trio

from tricord.homeserver.clock import Clock
from tricord.homeserver.rooms.cached_rooms import CachedRooms
from tricord.homeserver.rooms.memberships import Memberships
from tricord.homeserver.rooms.outsiders import Outsiders
from tricord.homeserver.rooms.partial_rooms import PartialRooms
from tricord.homeserver.rooms.receive import Receiver
from tricord.homeserver.rooms.residence import Residence
from tricord.homeserver.rooms.server_reads import ServerReads
from tricord.homeserver.rooms.verification import Verifier
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.errors import DatabaseError, DatabaseUnavailable
from tricord.homeserver.storage.incoming_transactions import answer_given, forget_answers, keep_answer
from tricord.homeserver.storage.remote_memberships import version_of_room
from tricord.protocol.errors import InvalidParam, LimitExceeded, MatrixError
from tricord.protocol.events import Event, parse_event
from tricord.protocol.identifiers import (
    EventId,
    RoomId,
    ServerName,
    UserId,
    fits,
    is_valid_user_id,
    server_name_of,
)
from tricord.protocol.room_versions import room_version
from tricord.protocol.strict_json import JsonObject

_ROOMS_AT_ONCE = 8
_MOST_AT_ONCE = 16
_RETRY_AFTER_MS = 5_000
_ANSWERS_LAST_MS = 24 * 3600 * 1000
_PRUNE_EVERY_SECONDS = 3600

_logger = structlog.get_logger(__name__)

Results = dict[EventId, str | None]


class EduReceiver(Protocol):
    """Takes in what passes: typing, receipts, presence and the like."""

    async def receive(self, origin: ServerName, edus: Sequence[Any]) -> None:
        """Take in the EDUs of a transaction; one that is wrong is left out."""
        ...


class IncomingTransactions:
    """Takes in transactions."""

    def __init__(
        self,
        database: Database,
        rooms: CachedRooms,
        receiver: Receiver,
        reads: ServerReads,
        residence: Residence,
        partial_rooms: PartialRooms,
        memberships: Memberships,
        outsiders: Outsiders,
        verifier: Verifier,
        edus: EduReceiver,
        clock: Clock,
    ) -> None:
        self._database = database
        self._rooms = rooms
        self._receiver = receiver
        self._reads = reads
        self._residence = residence
        self._partial_rooms = partial_rooms
        self._memberships = memberships
        self._outsiders = outsiders
        self._verifier = verifier
        self._edus = edus
        self._clock = clock
        self._under_way: dict[tuple[ServerName, str], trio.Event] = {}
        self._at_once: Counter[ServerName] = Counter()

    async def receive(self, origin: ServerName, transaction_id: str, pdus: Sequence[Any], edus: Sequence[Any]) -> bytes:
        """Take in a transaction and return the JSON of its answer."""
        if not fits(transaction_id):
            raise InvalidParam("the id of the transaction is too long")
        # Servers send one after the other; whoever sends many at once would have us keep them all in memory.
        if self._at_once[origin] >= _MOST_AT_ONCE:
            raise LimitExceeded("send one transaction after the other", retry_after_ms=_RETRY_AFTER_MS)
        self._at_once[origin] += 1
        try:
            return await self._receive(origin, transaction_id, pdus, edus)
        finally:
            self._at_once[origin] -= 1
            if not self._at_once[origin]:
                del self._at_once[origin]

    async def _receive(
        self, origin: ServerName, transaction_id: str, pdus: Sequence[Any], edus: Sequence[Any]
    ) -> bytes:
        key = (origin, transaction_id)
        while (under_way := self._under_way.get(key)) is not None:
            await under_way.wait()
        # Before anything is awaited: another copy of this transaction may already be on its way.
        done = self._under_way[key] = trio.Event()
        try:
            answer = await self._database.read(answer_given, origin, transaction_id)
            if answer is not None:
                return answer
            results = await self._receive_pdus(origin, pdus)
            await self._edus.receive(origin, edus)
            told = {event_id: {} if error is None else {"error": error} for event_id, error in results.items()}
            answer = orjson.dumps({"pdus": told})
            await self._database.run(keep_answer, origin, transaction_id, answer, self._clock.now_ms())
            return answer
        finally:
            del self._under_way[key]
            done.set()

    async def run(self) -> None:
        """Forget old answers, for ever."""
        while True:
            try:
                await self._database.run(forget_answers, self._clock.now_ms() - _ANSWERS_LAST_MS)
            except DatabaseError as error:
                _logger.warning("old answers to transactions stay for now", reason=str(error))
            await trio.sleep(_PRUNE_EVERY_SECONDS)

    async def _receive_pdus(self, origin: ServerName, pdus: Sequence[Any]) -> Results:
        by_room: dict[RoomId, list[JsonObject]] = {}
        for pdu in pdus:
            room_id = pdu.get("room_id") if isinstance(pdu, dict) else None
            if isinstance(room_id, str) and fits(room_id) and "\0" not in room_id:
                by_room.setdefault(RoomId(room_id), []).append(pdu)
        results: Results = {}
        outages: list[DatabaseUnavailable] = []
        limiter = trio.CapacityLimiter(_ROOMS_AT_ONCE)

        async def receive_room(room_id: RoomId, of_room: Sequence[JsonObject]) -> None:
            async with limiter:
                try:
                    results.update(await self._receive_room(origin, room_id, of_room))
                except DatabaseUnavailable as error:
                    outages.append(error)

        async with trio.open_nursery() as nursery:
            for room_id, of_room in by_room.items():
                nursery.start_soon(receive_room, room_id, of_room)
        if outages:
            raise outages[0]
        return results

    async def _receive_room(self, origin: ServerName, room_id: RoomId, pdus: Sequence[JsonObject]) -> Results:
        room = await self._rooms.room(room_id)
        if room is None or not await self._residence.is_in(room_id):
            await self._receive_for_outsiders(origin, room_id, pdus)
            return {}
        events: list[Event] = []
        for pdu in pdus:
            try:
                events.append(parse_event(pdu, room.version))
            except MatrixError as error:
                _logger.info("what is no event was left out", origin=origin, room_id=room_id, reason=error.message)
        try:
            await self._reads.check_acl(origin, room_id)
            if await self._partial_rooms.postpones(room_id):
                return await self._postpone(origin, room.nid, events)
            return await self._receiver.receive(origin, room_id, events)
        except MatrixError as error:
            return {event.event_id: error.message for event in events}
        except DatabaseUnavailable:
            # What is said to be received is not sent again.
            raise
        except Exception:  # one room must not keep the others from being heard
            _logger.exception("the events of a room could not be taken in", room_id=room_id, origin=origin)
            return {event.event_id: "internal error" for event in events}

    async def _postpone(self, origin: ServerName, room_nid: int, events: Sequence[Event]) -> Results:
        kept = await self._partial_rooms.postpone(room_nid, origin, [event.json for event in events])
        reason = None if kept else "this server does not know all of the room yet"
        return {event.event_id: reason for event in events}

    async def _receive_for_outsiders(self, origin: ServerName, room_id: RoomId, pdus: Sequence[JsonObject]) -> None:
        """Take in what becomes of local users who are invited to a room elsewhere, or knock on it."""
        for pdu in pdus:
            user_id = pdu.get("state_key")
            if pdu.get("type") != "m.room.member" or not is_valid_user_id(user_id):
                continue
            user = UserId(user_id)
            now = await self._memberships.membership(user, room_id) if self._residence.is_local(user) else None
            if now is None or now.membership not in ("invite", "knock"):
                continue
            try:
                version = room_version(await self._version_of(room_id))
                verified, _ = await self._verifier.verified([parse_event(pdu, version)])
            except MatrixError:
                continue
            for event in verified:
                # A room that we are not in cannot tell us who may do what: what its server said, it may take back.
                if (
                    event.content.get("membership") in ("leave", "ban")
                    and server_name_of(event.sender) == origin
                    and origin in await self._outsiders.told_by(now)
                ):
                    await self._outsiders.note(event)

    async def _version_of(self, room_id: RoomId) -> str:
        return await self._database.read(version_of_room, room_id) or ""
