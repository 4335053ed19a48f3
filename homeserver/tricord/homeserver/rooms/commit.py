"""Writing what rooms become, and making it known once it is committed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from tricord.homeserver.rooms.cached_rooms import CachedRooms
from tricord.homeserver.rooms.chain import Chain, Signer
from tricord.homeserver.rooms.chain_rows import batch_of
from tricord.homeserver.rooms.memberships import Memberships
from tricord.homeserver.rooms.moves import Move
from tricord.homeserver.rooms.node_cache import NodeCache
from tricord.homeserver.rooms.room_write import Link, RoomWrite
from tricord.homeserver.storage.database import Database, Transaction
from tricord.homeserver.storage.event_batch import EventBatch, write_events
from tricord.homeserver.storage.rooms import insert_rooms
from tricord.homeserver.stream.publisher import Commit, Publisher
from tricord.protocol.identifiers import RoomId, UserId


class Committer:
    """Brings writes into the database, and from there into the memory of this process and to those who wait."""

    def __init__(
        self,
        database: Database,
        publisher: Publisher,
        rooms: CachedRooms,
        nodes: NodeCache,
        memberships: Memberships,
        signer: Signer,
    ) -> None:
        self._database = database
        self._publisher = publisher
        self._rooms = rooms
        self._nodes = nodes
        self._memberships = memberships
        self._signer = signer

    async def settle(self, chains: Iterable[Chain]) -> None:
        """Work out what rooms become by their chains."""
        for chain in chains:
            chain.settle_redactions()
            await self._nodes.using(chain.settle_state)

    async def put(self, writes: Collection[RoomWrite]) -> tuple[Collection[int], dict[int, int]]:
        """Write to the database; return which rooms it was written to, and the positions of the events."""
        batch = self._batch_of(writes)
        run = self._database.run_one if batch.is_one_statement else self._database.run
        return await run(write_events, batch)

    async def put_new_rooms(self, writes: Collection[RoomWrite]) -> tuple[Collection[int], dict[int, int]]:
        """Write rooms to the database that are not there yet; return as `put` does."""
        batch = self._batch_of(writes)

        async def write(tx: Transaction) -> tuple[Collection[int], dict[int, int]]:
            await insert_rooms(tx, [(each.room.nid, each.room.room_id, each.room.version.name) for each in writes])
            return await write_events(tx, batch)

        return await self._database.run(write)

    def take_in(self, writes: Iterable[RoomWrite], moved: Collection[int], positions: Mapping[int, int]) -> None:
        """Make what has been committed known in this process; nothing is awaited, so nobody sees half of it."""
        last = max(positions.values(), default=0)
        rooms: set[RoomId] = set()
        users: set[UserId] = set()
        for write in writes:
            room = write.room
            if room.nid not in moved:
                continue
            self._nodes.add(write.nodes)
            events = {link.nid: link.stored(positions[link.nid]) for link in write.links if link.nid in positions}
            state = {
                key: events[became.nid] if isinstance(became, Link) else became for key, became in write.state.items()
            }
            extremities = tuple(write.extremities)
            move = Move(last, write.state_root, extremities, state, list(events.values()), write.redacted)
            is_known = self._rooms.move(room, move)
            if not events:
                continue
            rooms.add(room.room_id)
            memberships = {user_id: membership for user_id, membership, _ in write.members()}
            users |= memberships.keys()
            if is_known:
                for user_id, membership in memberships.items():
                    self._memberships.note(room.room_id, user_id, membership)
            elif memberships:
                self._memberships.look_again([room.room_id], memberships)
        if rooms:
            self._publisher.publish(Commit(last, frozenset(rooms), frozenset(users), len(positions), has_events=True))

    def _batch_of(self, writes: Collection[RoomWrite]) -> EventBatch:
        return batch_of(writes, self._signer.server_name, self._signer.clock.now_ms())
