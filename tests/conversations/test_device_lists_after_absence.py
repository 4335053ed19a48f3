"""A server is down, or misses what it is told: when it is back, it knows the devices of others as they are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from tests.conversations.network import Network
from tests.conversations.test_encryption import KIND, Ear, kept, list_requests, settles
from tests.conversations.towns import open_town
from tests.homeserver.encryption.devices import Device, another_device
from tests.homeserver.encryption.identities import Identity
from tests.postgres import PostgresServer
from tests.servers import PASSWORD
from tricord.clients import Client
from tricord.clients.session import Session
from tricord.homeserver.clock import SystemClock
from tricord.homeserver.storage.database import open_database
from tricord.protocol.identifiers import ServerName

_HOUR = 3600


NAMES = {"federation": {"device_names": True}}


class LaterClock(SystemClock):
    """The time of day, and what the test adds."""

    def __init__(self) -> None:
        self.ahead_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.ahead_ms


@dataclass
class Place:
    """A town that is opened and closed, and somebody of it, who stays signed in."""

    name: ServerName
    person: str
    url: str
    home: Path
    network: Network
    clock: LaterClock = field(default_factory=LaterClock)
    session: Session | None = None

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Client]:
        """Open it; return the client of who lives there."""
        async with (
            open_town(self.name, self.url, self.home, self.network, [], NAMES, clock=self.clock) as town,
            Client(town.homeserver.urls[0], session=self.session) as client,
        ):
            if self.session is None:
                await client.register(self.person, PASSWORD)
                self.session = client.session
            yield client
        del self.network.urls[self.name]


@pytest.fixture
async def places(postgres: PostgresServer, tmp_path: Path, network: Network) -> AsyncIterator[list[Place]]:
    found = []
    for name, person in (("north", "alice"), ("south", "bob")):
        home = tmp_path / name
        home.mkdir()
        found.append(Place(ServerName(f"{name}.test"), person, await postgres.fresh(), home, network))
    yield found
    for place in found:
        await postgres.drop(place.url)


async def shared_room(alice: Client, bob: Client, through: ServerName) -> None:
    await bob.join(await alice.create_room(preset="public_chat"), via=[through])


async def test_devices_that_came_and_went_in_an_hour_of_absence_are_known_afterwards(
    places: list[Place], network: Network, mock_clock: MockClock
) -> None:
    mock_clock.rate = 1
    north, south = places
    async with north.opened() as client:
        alice = Device(client)
        await alice.upload()
        async with south.opened() as bob:
            ear = Ear(bob)
            bobs_device = bob.device_id
            await shared_room(alice.client, bob, north.name)
            await kept(network, alice.client.user_id, bob)
            await ear.listen()
        async with another_device(alice.client) as phone, another_device(alice.client) as tablet:
            await Device(phone).upload()
            await Device(tablet).upload()
            for minute in range(60):
                mock_clock.jump(60)
                north.clock.ahead_ms += 60_000
                south.clock.ahead_ms += 60_000
                if minute % 6 == 0:
                    content = {"number": minute}
                    await alice.client.send_to_device(KIND, {bob.user_id: {bobs_device: content}})
                    await tablet.rename_device(tablet.device_id, f"Tablet {minute}")
            await alice.client.delete_device(phone.device_id, PASSWORD)
            identity = Identity(alice)
            await identity.upload()
            async with south.opened() as bob:
                ear.continue_with(bob)
                # The other server looks for it once an hour, and at once when it hears from it.
                mock_clock.jump(2 * _HOUR)
                await ear.hear_change_of(alice.client.user_id)
                await settles(alice.client.user_id, bob, {alice.client.device_id, tablet.device_id})
                await kept(network, alice.client.user_id, bob)
                found = await bob.query_keys({alice.client.user_id: []})
                me = alice.client.user_id
                assert found.device_keys[me][tablet.device_id]["unsigned"]["device_display_name"] == "Tablet 54"
                assert found.master_keys[me]["keys"] == identity.master.json()["keys"]
                assert await ear.hear_messages(10) == list(range(0, 60, 6))


async def test_a_gap_that_was_found_is_closed_though_the_server_stops_before_it_could_ask(
    places: list[Place], network: Network
) -> None:
    north, south = places
    async with AsyncExitStack() as opened:
        async with north.opened() as client, south.opened() as bob:
            alice = Device(client)
            me, ear = client.user_id, Ear(bob)
            await alice.upload()
            await shared_room(client, bob, north.name)
            await kept(network, me, bob)
            await ear.listen()
            network.part(north.name, south.name)
            phone = await opened.enter_async_context(another_device(client))
            await Device(phone).upload()
        # As after such a long time that what was to be told is told no more.
        async with open_database(north.url) as database:
            await database.run(lambda tx: tx.execute("DELETE FROM outgoing_edus"))
        async with north.opened() as client:
            async with south.opened() as bob:
                ear.continue_with(bob)
                network.gates["/user/devices/"] = trio.Event()
                network.heal()
                tablet = await opened.enter_async_context(another_device(client))
                await Device(tablet).upload()
                await ear.hear_change_of(me)
            network.gates.clear()
            asked = len(list_requests(network))
            async with south.opened() as bob:
                await settles(me, bob, {client.device_id, phone.device_id, tablet.device_id})
                await kept(network, me, bob)
                assert len(list_requests(network)) > asked
