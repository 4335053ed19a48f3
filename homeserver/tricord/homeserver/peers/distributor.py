"""Seeing what has been committed, and putting into each outbox what is for its server.

Each event is read once, whatever the number of servers that get it. A wake-up that is lost loses nothing: then all
outboxes are told to look in the database for themselves.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Protocol

import structlog
import trio

from tricord.homeserver.peers.outbox import Outbox
from tricord.homeserver.peers.outgoing_edus import typing_edu
from tricord.homeserver.peers.room_servers import RoomServers
from tricord.homeserver.rooms.receipts import READ
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.errors import DatabaseError
from tricord.homeserver.storage.outgoing import outgoing_between
from tricord.homeserver.storage.presence import Presence, presence_between, presence_for_newcomers, presence_of
from tricord.homeserver.storage.receipts import Receipt, receipts_between
from tricord.homeserver.storage.typing import typing_in
from tricord.homeserver.stream.publisher import Commit, Publisher
from tricord.protocol.identifiers import RoomId, ServerName, UserId, server_name_of

_MOST_EVENTS = 200
_MOST_PRESENCES = 1000
# Presence is worth waiting for: much of it changes at once, and again soon.
_PRESENCE_SECONDS = 1.0
# Others forget that somebody is typing, or there, when they do not hear it again.
_TYPING_AGAIN_SECONDS = 25
_PRESENCE_AGAIN_SECONDS = 25 * 60

_logger = structlog.get_logger(__name__)


class Outboxes(Protocol):
    """Where things are put."""

    def outbox(self, server: ServerName) -> Outbox | None:
        """Return the outbox of a server, if it is this process that sends to it."""
        ...

    def wake(self, outbox: Outbox) -> None:
        """Have sent what is in an outbox."""
        ...

    async def rally(self) -> None:
        """Have all outboxes look for themselves."""
        ...


class RoomsOfUsers(Protocol):
    """Who is in which rooms."""

    async def joined_rooms(self, user_id: UserId) -> Collection[RoomId]: ...


class Distributor:
    """Puts what is committed into outboxes."""

    def __init__(
        self,
        own_name: ServerName,
        database: Database,
        publisher: Publisher,
        room_servers: RoomServers,
        memberships: RoomsOfUsers,
        outboxes: Outboxes,
        *,
        sends_presence: bool = True,
    ) -> None:
        self.position = publisher.position
        """Everything up to here is in the outboxes that take it."""
        self._own_name = own_name
        self._database = database
        self._publisher = publisher
        self._room_servers = room_servers
        self._memberships = memberships
        self._outboxes = outboxes
        self._sends_presence = sends_presence
        self._changed_rooms: set[RoomId] = set()
        self._has_events = False
        self._has_members = False
        self._is_lost = True
        self._has_work = trio.Event()
        self._has_presence = trio.Event()
        # Who is typing where, as other servers have been told.
        self._typing: dict[RoomId, set[UserId]] = {}
        self._presence_position = publisher.position
        self._present: dict[UserId, None] = {}
        publisher.observe(self._note, self._note_gap)

    def look_again(self) -> None:
        """Have all outboxes look for themselves."""
        self._is_lost = True
        self._has_work.set()

    async def run(self) -> None:
        """Distribute, for ever."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._distribute_for_ever)
            nursery.start_soon(self._repeat_typing)
            if self._sends_presence:
                nursery.start_soon(self._tell_presence)
                nursery.start_soon(self._repeat_presence)

    def _note(self, commit: Commit) -> None:
        if commit.rooms:
            self._changed_rooms |= commit.rooms
            self._has_events = self._has_events or commit.has_events
            self._has_members = self._has_members or (commit.has_events and bool(commit.users))
            self._has_work.set()
        if commit.presence_in:
            self._has_presence.set()

    def _note_gap(self, _position: int) -> None:
        self.look_again()

    async def _distribute_for_ever(self) -> None:
        while True:
            await self._has_work.wait()
            self._has_work = trio.Event()
            try:
                await self._distribute()
            except DatabaseError as error:
                _logger.warning("what goes to other servers cannot be read", reason=str(error))
                self._is_lost = True
                await trio.sleep(1)
                self._has_work.set()

    async def _distribute(self) -> None:
        rooms, self._changed_rooms = self._changed_rooms, set()
        has_events, self._has_events = self._has_events, False
        has_members, self._has_members = self._has_members, False
        upto = self._publisher.position
        if self._is_lost:
            self._is_lost = False
            self.position = max(self.position, upto)
            await self._outboxes.rally()
            # Who is typing is in no outbox's reach; wherever somebody was, they may have stopped unheard.
            rooms |= self._typing.keys()
            has_events = False
        shared = await self._room_servers.ever_shared(rooms)
        after = self.position
        if shared and has_events:
            await self._put_events(upto)
        self.position = upto
        if not shared:
            return
        receipts = await self._database.read(receipts_between, shared, after, upto)
        servers_of = await self._room_servers.of_rooms(shared)
        # What comes next there is to leave as soon as this has.
        self._publisher.await_next(
            room_id
            for room_id in shared
            if any(self._outboxes.outbox(server) is not None for server in servers_of.get(room_id, ()))
        )
        typing = await self._typing_changes(shared)
        for receipt in receipts:
            if receipt.receipt_type == READ and self._is_ours(receipt.user_id):
                self._put_receipt(receipt, servers_of.get(receipt.room_id, ()))
        for room_id, user_id, is_typing in typing:
            self._put_typing(room_id, user_id, servers_of.get(room_id, ()), is_typing=is_typing)
        if has_members and self._sends_presence:
            await self._tell_newcomers(shared, after)

    async def _tell_newcomers(self, room_ids: Sequence[RoomId], after: int) -> None:
        """Tell servers who is there, of those whom they have just met."""
        for server, presence in await self._database.read(presence_for_newcomers, room_ids, self._own_name, after):
            for outbox in self._of([server]):
                outbox.add_presence(presence)
                self._outboxes.wake(outbox)

    async def _put_events(self, upto: int) -> None:
        while True:
            found = await self._database.read(outgoing_between, self.position, upto, _MOST_EVENTS)
            # From here on nothing is awaited: an outbox takes all that comes after a position, or reads up to it.
            self.position = found[-1][0].position if len(found) == _MOST_EVENTS else upto
            for event, servers in found:
                for outbox in self._of(servers):
                    outbox.add_event(event)
                    self._outboxes.wake(outbox)
            if len(found) < _MOST_EVENTS:
                return

    def _put_receipt(self, receipt: Receipt, servers: Iterable[ServerName]) -> None:
        for outbox in self._of(servers):
            outbox.add_receipt(receipt)
            self._outboxes.wake(outbox)

    def _put_typing(self, room_id: RoomId, user_id: UserId, servers: Iterable[ServerName], *, is_typing: bool) -> None:
        edu = typing_edu(room_id, user_id, typing=is_typing)
        for outbox in self._of(servers):
            outbox.add_passing(("m.typing", room_id, user_id), edu)
            self._outboxes.wake(outbox)

    async def _typing_changes(self, room_ids: Collection[RoomId]) -> list[tuple[RoomId, UserId, bool]]:
        now: dict[RoomId, set[UserId]] = {}
        for room_id, user_id, _ in await self._database.read(typing_in, list(room_ids)):
            if self._is_ours(user_id):
                now.setdefault(room_id, set()).add(user_id)
        changes = []
        for room_id in room_ids:
            before, after = self._typing.pop(room_id, set()), now.get(room_id, set())
            if after:
                self._typing[room_id] = after
            changes += [(room_id, user_id, True) for user_id in after - before]
            changes += [(room_id, user_id, False) for user_id in before - after]
        return changes

    async def _repeat_typing(self) -> None:
        while True:
            await trio.sleep(_TYPING_AGAIN_SECONDS)
            try:
                servers_of = await self._room_servers.of_rooms(list(self._typing))
            except DatabaseError:
                continue
            for room_id, servers in servers_of.items():
                for user_id in self._typing.get(room_id, ()):
                    self._put_typing(room_id, user_id, servers, is_typing=True)

    async def _tell_presence(self) -> None:
        while True:
            await self._has_presence.wait()
            await trio.sleep(_PRESENCE_SECONDS)
            self._has_presence = trio.Event()
            upto = self._publisher.position
            try:
                found = await self._database.read(presence_between, self._presence_position, upto, _MOST_PRESENCES)
                self._presence_position = upto
                await self._put_presences(one for one in found if self._is_ours(one.user_id))
            except DatabaseError as error:
                _logger.warning("presence cannot be read", reason=str(error))

    async def _repeat_presence(self) -> None:
        while True:
            await trio.sleep(_PRESENCE_AGAIN_SECONDS)
            try:
                await self._put_presences(await self._database.read(presence_of, list(self._present)))
            except DatabaseError as error:
                _logger.warning("presence cannot be read", reason=str(error))

    async def _put_presences(self, presences: Iterable[Presence]) -> None:
        for presence in presences:
            self._present.pop(presence.user_id, None)
            if presence.state != "offline":
                self._present[presence.user_id] = None
            rooms = await self._memberships.joined_rooms(presence.user_id)
            servers_of = await self._room_servers.of_rooms(rooms)
            for outbox in self._of(frozenset[ServerName]().union(*servers_of.values())):
                outbox.add_presence(presence)
                self._outboxes.wake(outbox)

    def _of(self, servers: Iterable[ServerName]) -> Iterable[Outbox]:
        return [outbox for server in servers if (outbox := self._outboxes.outbox(server)) is not None]

    def _is_ours(self, user_id: UserId) -> bool:
        return server_name_of(user_id) == self._own_name
