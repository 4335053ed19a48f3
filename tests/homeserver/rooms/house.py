"""The parts of a homeserver that keep rooms, put together on a database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import trio

from tricord.homeserver.assembly.foundation import Common
from tricord.homeserver.rooms.append import Draft, Log
from tricord.homeserver.rooms.cached_rooms import CachedRooms
from tricord.homeserver.rooms.chain import Signer
from tricord.homeserver.rooms.commit import Committer
from tricord.homeserver.rooms.drafts import ClientTransaction
from tricord.homeserver.rooms.memberships import Memberships
from tricord.homeserver.rooms.node_cache import NodeCache
from tricord.homeserver.rooms.state import RoomState
from tricord.homeserver.rooms.stored_event import StoredEvent
from tricord.homeserver.rooms.timeline import Timeline
from tricord.homeserver.rooms.writing_turns import WritingTurns
from tricord.homeserver.storage.database import Database, open_database
from tricord.homeserver.storage.stream import current_position
from tricord.homeserver.stream.publisher import Publisher
from tricord.protocol.identifiers import EventId, RoomId, ServerName, UserId
from tricord.protocol.room_versions import room_version
from tricord.protocol.signing import SigningKey

SERVER = ServerName("house.test")
KEY = SigningKey.generate()
ALICE, BOB, CAROL = (UserId(f"@{name}:{SERVER}") for name in ("alice", "bob", "carol"))


@dataclass
class FixedClock:
    """A clock that goes on by a millisecond whenever somebody looks."""

    now: int = 1_700_000_000_000

    def now_ms(self) -> int:
        self.now += 1
        return self.now


@dataclass
class House:
    """One process of a homeserver."""

    database: Database
    publisher: Publisher
    rooms: CachedRooms
    nodes: NodeCache
    memberships: Memberships
    state: RoomState
    timeline: Timeline
    log: Log
    clock: FixedClock = field(default_factory=FixedClock)

    async def create(self, *, version: str = "12", creator: UserId = ALICE, join_rule: str = "public") -> RoomId:
        """Make a room that its creator is in."""
        names_creator = room_version(version).create_content_names_creator
        content = {"room_version": version, **({"creator": creator} if names_creator else {})}
        no_room = RoomId("")
        levels: dict[str, Any] = {"users": {}, "events": {"m.room.name": 50}}
        if not room_version(version).creators_have_infinite_power:
            levels["users"] = {creator: 100}
        room_id, _ = await self.log.create_room(
            room_version(version),
            creator,
            content,
            [
                Draft(no_room, creator, "m.room.member", creator, {"membership": "join"}),
                Draft(no_room, creator, "m.room.power_levels", "", levels),
                Draft(no_room, creator, "m.room.join_rules", "", {"join_rule": join_rule}),
            ],
        )
        return room_id

    async def member(
        self, room_id: RoomId, user_id: UserId, membership: str, sender: UserId | None = None
    ) -> StoredEvent:
        """Change a membership."""
        return await self.set(room_id, "m.room.member", user_id, {"membership": membership}, sender or user_id)

    async def set(
        self, room_id: RoomId, event_type: str, state_key: str, content: dict[str, Any], sender: UserId = ALICE
    ) -> StoredEvent:
        """Set a piece of state."""
        return await self.log.append(Draft(room_id, sender, event_type, state_key, content))

    async def say(
        self,
        room_id: RoomId,
        body: str,
        sender: UserId = ALICE,
        *,
        device: str = "PHONE",
        transaction_id: str | None = None,
    ) -> StoredEvent:
        """Send a message."""
        transaction = None
        if transaction_id is not None:
            transaction = ClientTransaction(sender, device, "send", transaction_id)
        content = {"msgtype": "m.text", "body": body}
        return await self.log.append(Draft(room_id, sender, "m.room.message", None, content, transaction=transaction))

    async def redact(self, room_id: RoomId, event_id: EventId, sender: UserId = ALICE) -> StoredEvent:
        """Redact an event."""
        return await self.log.append(Draft(room_id, sender, "m.room.redaction", None, {}, redacts=event_id))

    async def bodies(self, room_id: RoomId) -> list[str]:
        """Return what has been said in a room, in order."""
        stretch = await self.timeline.recent(room_id, after=0, upto=self.publisher.position, limit=10_000)
        return [
            stored.event.content.get("body", "") for stored in stretch.events if stored.event.type == "m.room.message"
        ]


@asynccontextmanager
async def opened_house(url: str, common: Common | None = None) -> AsyncIterator[House]:
    """Run one process of a homeserver on a database; `common` is what it shares with others on this machine."""
    async with open_database(url) as database, trio.open_nursery() as nursery:
        clock = FixedClock()
        position, nodes = await database.read(current_position), NodeCache(database)
        if common is None:
            publisher, turns = Publisher(database, position), None
            rooms = CachedRooms(database, publisher)
        else:
            publisher = Publisher(database, position, common.memory.frontier, common.siblings)
            rooms = CachedRooms(database, publisher, common.siblings)
            turns = WritingTurns(common.siblings, common.memory, rooms)
        memberships = Memberships(database, publisher)
        signer = Signer(SERVER, KEY, clock)
        committer = Committer(database, publisher, rooms, nodes, memberships, signer)
        log = Log(database, rooms, committer, signer, turns=turns)
        await nursery.start(database.run_listeners)
        if common is not None:
            await nursery.start(common.siblings.run)
        nursery.start_soon(publisher.run)
        nursery.start_soon(log.run)
        yield House(
            database,
            publisher,
            rooms,
            nodes,
            memberships,
            RoomState(database, rooms, nodes),
            Timeline(database, rooms),
            log,
            clock,
        )
        nursery.cancel_scope.cancel()
