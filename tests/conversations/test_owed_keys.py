"""Keys of rooms for those whose server was away when the keys were to be given."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import pytest
import trio

from tests.conversations.network import Network
from tests.conversations.towns import Town, members, open_town
from tests.postgres import PostgresServer
from tests.servers import PASSWORD
from tricord.clients import Encryption, Session
from tricord.clients.encryption import machine
from tricord.clients.testing import Person
from tricord.protocol.identifiers import ServerName

NORTH, SOUTH = ServerName("north.test"), ServerName("south.test")


class Clock:
    """The time of day for what encrypts, and what the test adds."""

    ahead_seconds = 0.0

    def time(self) -> float:
        return time.time() + self.ahead_seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(machine, "time", SimpleNamespace(time=found.time))
    return found


@asynccontextmanager
async def somebody(town: Town, keys: Path, session: Session | None = None) -> AsyncIterator[Person]:
    """Give somebody who encrypts; without a session on a new account."""
    async with Person(town.homeserver.urls[0], session=session, encryption=Encryption(keys)) as person:
        if session is None:
            await person.register(keys.name, PASSWORD)
        yield person


def owes(person: Person) -> bool:
    store = person.encryption.machine.store
    return any(store.rows(f"SELECT 1 FROM {table}") for table in ("owed_keys", "owed_session_keys"))


async def syncs_for_hours(person: Person, clock: Clock) -> NoReturn:
    """Sync for ever; each time it is ten minutes later."""
    position = None
    while True:
        position = (await person.sync(since=position, timeout_seconds=1))["next_batch"]
        clock.ahead_seconds += 600


async def test_who_was_away_reads_what_was_said_meanwhile(
    postgres: PostgresServer, tmp_path: Path, clock: Clock
) -> None:
    network = Network()
    homes = {name: tmp_path / name for name in (NORTH, SOUTH)}
    urls = {name: await postgres.fresh() for name in homes}
    for home in homes.values():
        home.mkdir()
    async with (
        open_town(NORTH, urls[NORTH], homes[NORTH], network, []) as north,
        somebody(north, tmp_path / "alice") as alice,
    ):
        async with (
            open_town(SOUTH, urls[SOUTH], homes[SOUTH], network, []) as south,
            somebody(south, tmp_path / "bob") as bob,
        ):
            await bob.sync()
            room_id = await alice.create_room(preset="public_chat", encrypted=True)
            await bob.join(room_id, via=[NORTH])
            with trio.fail_after(60):
                while await members(alice, room_id) != {alice.user_id, bob.user_id}:  # noqa: ASYNC110  # federation
                    await trio.sleep(0.05)
            session = bob.session
        del network.urls[SOUTH]
        said = await alice.send_text(room_id, "While you were away")
        assert owes(alice)
        async with (
            open_town(SOUTH, urls[SOUTH], homes[SOUTH], network, []) as south,
            somebody(south, tmp_path / "bob", session) as bob,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(syncs_for_hours, alice, clock)
            with trio.fail_after(90):
                heard = await bob.hears(room_id)
                assert (heard.event_id, heard.text) == (said, "While you were away")
                assert heard.decrypted is not None
                while owes(alice):  # noqa: ASYNC110  # as above
                    await trio.sleep(0.05)
            nursery.cancel_scope.cancel()
    for url in urls.values():
        await postgres.drop(url)
