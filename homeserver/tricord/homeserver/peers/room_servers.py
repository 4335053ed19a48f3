"""Which servers are in which room.

What is asked all the time is answered from memory; every change of memberships anywhere makes it be read again.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.room_servers import servers_in
from tricord.homeserver.stream.publisher import Commit, Publisher
from tricord.protocol.identifiers import RoomId, ServerName

_MOST_NAMES = 500_000


@dataclass(frozen=True, slots=True)
class _Servers:
    now: frozenset[ServerName]
    ever: bool


class RoomServers:
    """The other servers in rooms: those that have a user there now."""

    def __init__(self, database: Database, publisher: Publisher) -> None:
        self._database = database
        self._known: dict[RoomId, _Servers] = {}
        self._size = 0
        # Goes up when anything changes: what was read meanwhile may be too old to keep.
        self._changes = 0
        publisher.observe_at_once(self._forget_changed, self._forget_all)

    async def of(self, room_id: RoomId) -> frozenset[ServerName]:
        """Return the other servers in a room."""
        return (await self._of_all([room_id]))[room_id].now

    async def of_rooms(self, room_ids: Collection[RoomId]) -> dict[RoomId, frozenset[ServerName]]:
        """Return the other servers in each of some rooms."""
        return {room_id: servers.now for room_id, servers in (await self._of_all(room_ids)).items()}

    async def ever_shared(self, room_ids: Collection[RoomId]) -> list[RoomId]:
        """Return those of the rooms that something may go out from: another server is in them, or was."""
        return [room_id for room_id, servers in (await self._of_all(room_ids)).items() if servers.ever]

    async def _of_all(self, room_ids: Collection[RoomId]) -> dict[RoomId, _Servers]:
        found = {room_id: known for room_id in room_ids if (known := self._known.get(room_id)) is not None}
        unknown = [room_id for room_id in room_ids if room_id not in found]
        if unknown:
            changes = self._changes
            rows = await self._database.read(servers_in, unknown)
            now: dict[RoomId, set[ServerName]] = {}
            for room_id, server, is_in in rows:
                servers = now.setdefault(room_id, set())
                if is_in:
                    servers.add(server)
            for room_id in unknown:
                found[room_id] = _Servers(frozenset(now.get(room_id, ())), room_id in now)
                if changes == self._changes:
                    self._keep(room_id, found[room_id])
        return found

    def _keep(self, room_id: RoomId, servers: _Servers) -> None:
        self._forget(room_id)
        self._known[room_id] = servers
        self._size += 1 + len(servers.now)
        while self._size > _MOST_NAMES and len(self._known) > 1:
            self._forget(next(iter(self._known)))

    def _forget(self, room_id: RoomId) -> None:
        servers = self._known.pop(room_id, None)
        if servers is not None:
            self._size -= 1 + len(servers.now)

    def _forget_changed(self, commit: Commit) -> None:
        if commit.has_events and commit.users:
            self._changes += 1
            for room_id in commit.rooms:
                self._forget(room_id)

    def _forget_all(self, _position: int) -> None:
        self._changes += 1
        self._known.clear()
        self._size = 0
