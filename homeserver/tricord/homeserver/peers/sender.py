"""Sending to other servers what is committed here: each of them in its own time, in order, and nothing lost.

For every server there is an outbox, and a task while something waits in it. A server that does not answer is tried
again after a second, then more and more rarely, down to once an hour, and at once when it gives a sign of life; it
keeps nobody else waiting. Of several processes each sends to its share of the servers.

https://spec.matrix.org/v1.19/server-server-api/#transactions
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import structlog
import trio

from tricord.federation.errors import PeerError, PeerRefused
from tricord.homeserver.clock import Clock
from tricord.homeserver.peers.distributor import Distributor, RoomsOfUsers
from tricord.homeserver.peers.leases import Leases
from tricord.homeserver.peers.outbox import Departure, Outbox
from tricord.homeserver.peers.parcel import Parcel
from tricord.homeserver.peers.room_servers import RoomServers
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.destinations import Progress, save_progress, servers_to_send_to
from tricord.homeserver.storage.errors import DatabaseError
from tricord.homeserver.storage.grouped_writes import GroupedWrites
from tricord.homeserver.storage.outgoing import delete_outgoing_edus, prune_outgoing
from tricord.homeserver.storage.pruned_edus import prune_outgoing_edus
from tricord.homeserver.stream.publisher import Publisher
from tricord.protocol.identifiers import EventId, ServerName
from tricord.protocol.strict_json import JsonObject

# A server that has been away for longer gets the newest event of each room, and finds the others by itself.
LONG_ABSENCE_MS = 7 * 24 * 3600 * 1000
# And after so long, nothing but the newest events is kept for it.
GONE_MS = 90 * 24 * 3600 * 1000
MOST_WAITING_EDUS = 20_000
LEASE_KIND = 0x5EED
_EDU_CHANNEL = "tricord_outgoing_edus"
# A notification has less than 8,000 bytes, and a name up to 255.
_MOST_NAMES_TOLD = 30
_PRUNE_EVERY_SECONDS = 900
_MOST_IDLE_OUTBOXES = 5_000
# After a restart those who did not answer before are not all asked in the same second.
_SPREAD_SECONDS = 30
_NOTING_SECONDS = 5
_REFUSALS_BEFORE_A_PROBE = 3
# A server that refuses is there, so asking it costs little.
_LONGEST_PAUSE_SECONDS = 600.0
# Catching up takes database connections, and trying takes sockets: neither is for thousands at once.
_READERS = 4
_TRIALS_AT_ONCE = 100
_SENDING_AT_ONCE = 1_000
# What the server says about the content, not about us or itself.
_CONTENT_REFUSED = (400, 413, 422)

_logger = structlog.get_logger(__name__)
_uniform = secrets.SystemRandom().uniform


class Carrier(Protocol):
    """What brings transactions to other servers."""

    async def send_transaction(
        self,
        destination: ServerName,
        transaction_id: str,
        origin_server_ts: int,
        pdus: Sequence[bytes],
        edus: Sequence[JsonObject],
    ) -> Mapping[EventId, str | None]:
        """Send a transaction; return why events were not taken. Raises PeerError."""
        ...


class Health(Protocol):
    """What is known of which servers answer."""

    def note_unreachable(self, server: ServerName) -> None:
        """Leave a server alone for a while."""
        ...

    async def wait_until_callable(self, server: ServerName) -> None:
        """Return when a server may be called again."""
        ...


class Sender:
    """Sends to other servers."""

    def __init__(
        self,
        own_name: ServerName,
        database: Database,
        publisher: Publisher,
        room_servers: RoomServers,
        memberships: RoomsOfUsers,
        carrier: Carrier,
        health: Health,
        clock: Clock,
        *,
        sends_presence: bool = True,
        tells_device_names: bool = False,
        jitter: Callable[[float, float], float] = _uniform,
        leases: Leases | None = None,
    ) -> None:
        self._own_name = own_name
        self._database = database
        self._carrier = carrier
        self._health = health
        self._clock = clock
        self._tells_device_names = tells_device_names
        self._jitter = jitter
        self._leases = leases or Leases(database, LEASE_KIND)
        self._outboxes: dict[ServerName, Outbox] = {}
        self._distributor = Distributor(
            own_name, database, publisher, room_servers, memberships, self, sends_presence=sends_presence
        )
        self._progress: GroupedWrites[Progress, None] = GroupedWrites(self._save)
        self._nursery: trio.Nursery | None = None
        self._readers = trio.CapacityLimiter(_READERS)
        self._trials = trio.CapacityLimiter(_TRIALS_AT_ONCE)
        self._sendings = trio.CapacityLimiter(_SENDING_AT_ONCE)
        database.listen(_EDU_CHANNEL, self._take_notification)

    async def run(self) -> None:
        """Send, for ever."""
        async with trio.open_nursery() as self._nursery:
            try:
                self._nursery.start_soon(self._leases.run, self._take_leases)
                self._nursery.start_soon(self._distributor.run)
                self._nursery.start_soon(self._prune)
                await trio.sleep_forever()
            finally:
                self._nursery = None

    async def look_for_edus(self, servers: Collection[ServerName]) -> None:
        """Send what has been committed to `outgoing_edus` for some servers, whichever process that takes."""
        self._look_for_edus(servers)
        elsewhere = [server for server in servers if not self._leases.covers(server)]
        for first in range(0, len(elsewhere), _MOST_NAMES_TOLD):
            await self._database.notify(_EDU_CHANNEL, " ".join(elsewhere[first : first + _MOST_NAMES_TOLD]))

    def _look_for_edus(self, servers: Collection[ServerName]) -> None:
        for server in servers:
            outbox = self.outbox(server)
            if outbox is not None:
                outbox.read_durable_edus()
                self.wake(outbox)

    def _take_notification(self, payload: str) -> None:
        if payload:
            self._look_for_edus([ServerName(name) for name in payload.split(" ")])
        else:
            self._distributor.look_again()

    # What the distributor does with outboxes.

    def outbox(self, server: ServerName) -> Outbox | None:
        """Return the outbox of a server, if it is this process that sends to it."""
        outbox = self._outboxes.pop(server, None)
        if outbox is None:
            if not self._leases.covers(server) or server == self._own_name:
                return None
            outbox = Outbox(server, self._own_name, tells_device_names=self._tells_device_names)
            if len(self._outboxes) >= _MOST_IDLE_OUTBOXES:
                self._forget_idle()
        self._outboxes[server] = outbox
        return outbox

    def wake(self, outbox: Outbox) -> None:
        """Have sent what is in an outbox."""
        self._start(outbox, 0)

    @property
    def waiting(self) -> int:
        """How many servers something waits for, as far as this process sends to them."""
        return sum(not outbox.is_empty for outbox in self._outboxes.values())

    async def rally(self) -> None:
        """Have all outboxes look for themselves."""
        for outbox in list(self._outboxes.values()):
            outbox.read_everything()
            self.wake(outbox)
        for server, failed in await self._database.read(servers_to_send_to, self._own_name, self._distributor.position):
            waiting = self.outbox(server)
            if waiting is not None:
                self._start(waiting, self._jitter(0, _SPREAD_SECONDS) if failed else 0)

    def _take_leases(self) -> None:
        for server, outbox in list(self._outboxes.items()):
            if not self._leases.covers(server):
                del self._outboxes[server]
                if outbox.scope is not None:
                    outbox.scope.cancel()
        self._distributor.look_again()

    def _forget_idle(self) -> None:
        idle = [server for server, outbox in self._outboxes.items() if outbox.scope is None]
        for server in idle[: _MOST_IDLE_OUTBOXES // 10]:
            del self._outboxes[server]

    # One server.

    def _start(self, outbox: Outbox, delay_seconds: float) -> None:
        if outbox.scope is None and self._nursery is not None:
            outbox.scope = trio.CancelScope()
            self._nursery.start_soon(self._empty, outbox, outbox.scope, delay_seconds)

    async def _empty(self, outbox: Outbox, scope: trio.CancelScope, delay_seconds: float) -> None:
        """Send what is in an outbox, until nothing is."""
        with scope:
            await trio.sleep(delay_seconds)
            while True:
                try:
                    departure = await self._next_departure(outbox)
                    if departure is not None:
                        await self._deliver(outbox, departure)
                    elif outbox.has_passed_by and outbox.progress is not None:
                        outbox.has_passed_by = False
                        await self._progress.submit(outbox.progress)
                    elif outbox.is_empty:
                        break
                except DatabaseError as error:
                    _logger.warning("sending is interrupted", destination=outbox.server, reason=str(error))
                    outbox.read_everything()
                    await trio.sleep(_uniform(1, 5))
                except Exception:
                    # Whatever is wrong with one server is wrong with one server.
                    _logger.exception("sending failed", destination=outbox.server)
                    outbox.read_everything()
                    await trio.sleep(_uniform(30, 90))
        # Without an await since the last look: what is added from here on starts another task.
        outbox.scope = None

    async def _next_departure(self, outbox: Outbox) -> Departure | None:
        if not outbox.must_read:
            return await outbox.next_departure(self._database, self._added, self._clock.now_ms())
        async with self._readers:
            return await outbox.next_departure(self._database, self._added, self._clock.now_ms())

    def _added(self) -> int:
        return self._distributor.position

    async def _deliver(self, outbox: Outbox, departure: Departure) -> None:
        """Bring a departure to its server, however long it takes."""
        waiting = [departure.parcel]
        while waiting:
            parcel = waiting.pop(0)
            if not await self._is_taken(outbox, parcel):
                halves = parcel.halves()
                waiting[:0] = halves
                if not halves:
                    _logger.warning("a server will not take this", destination=outbox.server, what=parcel.contents)
        was_absent = _is_absent(outbox)
        outbox.progress = replace(
            departure.progress,
            failing_since_ts=None,
            newest_only_upto=outbox.progress.newest_only_upto if outbox.progress else 0,
        )
        if was_absent:
            _logger.info("a server is there again", destination=outbox.server)
            # It may have become a long absence meanwhile.
            outbox.read_everything()
        # Also when all this is about to end: else the server would be sent the same again.
        with trio.move_on_after(_NOTING_SECONDS) as noting:
            noting.shield = True
            if departure.durable:
                await self._database.run(delete_outgoing_edus, outbox.server, departure.durable)
            await self._progress.submit(outbox.progress)

    async def _is_taken(self, outbox: Outbox, parcel: Parcel) -> bool:
        """Send a parcel until the server has it; return False if it will never take all of it."""
        refusals = 0
        sent_ts = self._clock.now_ms()
        while True:
            await self._health.wait_until_callable(outbox.server)
            try:
                # Those who did not answer the last time must not take the places of those who do.
                async with self._trials if _is_absent(outbox) else self._sendings:
                    answer = await self._carrier.send_transaction(
                        outbox.server,
                        parcel.transaction_id,
                        sent_ts,
                        [event.json for event in parcel.events],
                        parcel.edus,
                    )
            except PeerRefused as refusal:
                if refusal.status in _CONTENT_REFUSED:
                    return False
                refusals += 1
                if refusal.status >= 500 and refusals % _REFUSALS_BEFORE_A_PROBE == 0 and await self._is_well(outbox):
                    return False
                await self._note_absence(outbox)
                pause = min(2.0 ** (refusals - 1), _LONGEST_PAUSE_SECONDS)
                await trio.sleep(max(refusal.retry_after_seconds or 0, self._jitter(pause * 0.75, pause * 1.25)))
            except PeerError as error:
                _logger.debug("a server did not answer", destination=outbox.server, reason=error.message)
                self._health.note_unreachable(outbox.server)
                await self._note_absence(outbox)
            else:
                for event_id, reason in answer.items():
                    if reason is not None:
                        _logger.info("refused there", destination=outbox.server, event_id=event_id, reason=reason)
                return True

    async def _is_well(self, outbox: Outbox) -> bool:
        """Return whether a server that fails at a parcel takes an empty one."""
        probe = Parcel()
        try:
            await self._carrier.send_transaction(outbox.server, probe.transaction_id, self._clock.now_ms(), [], [])
        except PeerError:
            return False
        return True

    async def _note_absence(self, outbox: Outbox) -> None:
        """Remember since when a server is away, and what passes it by."""
        outbox.forget_passing()
        progress, now_ms = outbox.progress, self._clock.now_ms()
        if progress is None:
            return
        if progress.failing_since_ts is None:
            outbox.progress = replace(progress, failing_since_ts=now_ms)
        elif now_ms - progress.failing_since_ts > LONG_ABSENCE_MS:
            outbox.progress = replace(progress, newest_only_upto=self._distributor.position)
        if outbox.progress is not progress:
            try:
                await self._progress.submit(outbox.progress or progress)
            except DatabaseError as error:
                _logger.warning("an absence could not be noted", destination=outbox.server, reason=str(error))

    async def _save(self, progress: Sequence[Progress]) -> Sequence[None]:
        newest = {one.server_name: one for one in progress}
        await self._database.run(save_progress, list(newest.values()))
        return [None] * len(progress)

    async def prune(self) -> None:
        """Delete what everybody has, and bound what waits for those who are away."""
        now_ms = self._clock.now_ms()
        await self._database.run(prune_outgoing, now_ms - LONG_ABSENCE_MS)
        dropped = await self._database.run(
            prune_outgoing_edus, now_ms - LONG_ABSENCE_MS, now_ms - GONE_MS, MOST_WAITING_EDUS
        )
        if dropped:
            _logger.info("what waited for servers that are away was dropped", edus=dropped)

    async def _prune(self) -> None:
        while True:
            await trio.sleep(_uniform(0.5, 1.5) * _PRUNE_EVERY_SECONDS)
            try:
                await self.prune()
            except DatabaseError as error:
                _logger.warning("what everybody has could not be deleted", reason=str(error))


def _is_absent(outbox: Outbox) -> bool:
    return outbox.progress is not None and outbox.progress.failing_since_ts is not None
