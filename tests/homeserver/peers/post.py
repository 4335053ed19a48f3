"""A house that sends, and servers that do as they are told: what each of them gets, in order."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import orjson
import trio

from tests.homeserver.rooms.foreign import Foreign
from tests.homeserver.rooms.house import SERVER, House, opened_house
from tricord.federation.errors import PeerRefused, PeerUnreachable
from tricord.federation.health import PeerHealth
from tricord.homeserver.peers.leases import Leases
from tricord.homeserver.peers.room_servers import RoomServers
from tricord.homeserver.peers.sender import LEASE_KIND, Sender
from tricord.homeserver.rooms.placement import Arrival, Placement, Verdict
from tricord.homeserver.rooms.resolution import StateResolver
from tricord.homeserver.rooms.stored_event import StoredEvent
from tricord.protocol.events import VerifiedEvent
from tricord.protocol.identifiers import EventId, RoomId, ServerName, UserId
from tricord.protocol.strict_json import JsonObject

PATIENCE_SECONDS = 60


@dataclass
class Transaction:
    """A transaction as a server got it."""

    transaction_id: str
    pdus: list[JsonObject]
    edus: list[JsonObject]


@dataclass
class Peer:
    """A server elsewhere."""

    is_there: bool = True
    refuse: Callable[[Transaction], int | None] = lambda _: None
    """Which status it refuses a transaction with, if it does."""
    hangs: trio.Event | None = None
    attempts: list[Transaction] = field(default_factory=list)
    got: list[Transaction] = field(default_factory=list)

    @property
    def heard(self) -> list[str]:
        """What was said in messages, each time that it came."""
        return [pdu["content"]["body"] for one in self.got for pdu in one.pdus if "body" in pdu["content"]]

    @property
    def events(self) -> list[JsonObject]:
        """All events that came."""
        return [pdu for one in self.got for pdu in one.pdus]

    def edus(self, edu_type: str) -> list[JsonObject]:
        """The contents of what passes of one type."""
        return [edu["content"] for one in self.got for edu in one.edus if edu["edu_type"] == edu_type]


@dataclass
class Post:
    """Implements Carrier."""

    peers: dict[ServerName, Peer] = field(default_factory=dict)
    _changed: trio.Event = field(default_factory=trio.Event)

    def __getitem__(self, server: ServerName) -> Peer:
        return self.peers.setdefault(server, Peer())

    async def send_transaction(
        self,
        destination: ServerName,
        transaction_id: str,
        origin_server_ts: int,
        pdus: Sequence[bytes],
        edus: Sequence[JsonObject],
    ) -> Mapping[EventId, str | None]:
        """Bring a transaction to a peer."""
        assert len(pdus) <= 50
        assert len(edus) <= 100
        assert origin_server_ts > 0
        await trio.lowlevel.checkpoint()
        peer = self[destination]
        transaction = Transaction(transaction_id, [orjson.loads(pdu) for pdu in pdus], list(edus))
        peer.attempts.append(transaction)
        self._changed.set()
        if peer.hangs is not None:
            await peer.hangs.wait()
        if not peer.is_there:
            raise PeerUnreachable(destination, "it is away")
        status = peer.refuse(transaction)
        if status is not None:
            raise PeerRefused(destination, status, {})
        # As the specification has it: the same transaction again is answered, and changes nothing.
        if all(one.transaction_id != transaction_id for one in peer.got):
            peer.got.append(transaction)
        self._changed.set()
        return {}

    async def until(self, happened: Callable[[], object]) -> None:
        """Wait until something has happened."""
        with trio.fail_after(PATIENCE_SECONDS):
            while not happened():
                self._changed = trio.Event()
                await self._changed.wait()


async def arrive(house: House, room_id: RoomId, *events: VerifiedEvent, forward: bool = False) -> None:
    """Let events of other servers arrive."""
    resolver = StateResolver(house.database, house.nodes)
    placement = Placement(house.database, house.log, house.rooms, house.nodes, resolver)
    outcomes = await placement.place(room_id, [Arrival(event, forward=forward) for event in events])
    assert {outcome.verdict for outcome in outcomes.values()} == {Verdict.ACCEPTED}


@dataclass
class Branch:
    """A house, and what makes it send."""

    house: House
    post: Post
    health: PeerHealth
    room_servers: RoomServers
    sender: Sender
    leases: Leases
    pauses: list[float]
    """How long the sender meant to wait, at least."""

    async def arrives(self, room_id: RoomId, *events: VerifiedEvent, forward: bool = False) -> None:
        """Let events of other servers arrive."""
        await arrive(self.house, room_id, *events, forward=forward)

    async def joins(self, room_id: RoomId, *user_ids: UserId) -> None:
        """Let users of other servers join."""
        for user_id in user_ids:
            await self.arrives(room_id, await Foreign(self.house, room_id).joins(user_id))

    async def say_all(self, room_id: RoomId, *bodies: str) -> list[StoredEvent]:
        """Say some things one after the other."""
        return [await self.house.say(room_id, body) for body in bodies]


def hasty() -> PeerHealth:
    """Return a health whose pauses are too short to be waited for."""
    return PeerHealth(longest_pause_seconds=1, jitter=lambda low, _high: low / 100)


@asynccontextmanager
async def branch(url: str, post: Post, health: PeerHealth | None = None, **options: bool) -> AsyncIterator[Branch]:
    """Run a process of a homeserver that sends."""
    async with opened_house(url) as house, trio.open_nursery() as nursery:
        health = health or hasty()
        room_servers = RoomServers(house.database, house.publisher)
        pauses: list[float] = []

        def jitter(low: float, _high: float) -> float:
            pauses.append(low)
            return low / 100

        leases = Leases(house.database, LEASE_KIND, look_seconds=0.2)
        sender = Sender(
            SERVER,
            house.database,
            house.publisher,
            room_servers,
            house.memberships,
            post,
            health,
            house.clock,
            jitter=jitter,
            leases=leases,
            **options,
        )
        nursery.start_soon(sender.run)
        yield Branch(house, post, health, room_servers, sender, leases, pauses)
        nursery.cancel_scope.cancel()
