"""Keys that a process keeps in memory: nobody is shown what was there before a change, whichever process took it in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.homeserver.encryption.devices import Device, another_device
from tests.homeserver.encryption.identities import CrossKey, Identity
from tests.servers import CHEAP, PASSWORD, settings_for, several
from tricord.clients import Client
from tricord.homeserver.app import Homeserver
from tricord.homeserver.encryption.shown_keys import NOTHING, Shown, ShownKeys
from tricord.homeserver.storage.database import Database, open_database
from tricord.homeserver.stream.publisher import Commit, Publisher, announce_unknown_changes
from tricord.protocol.identifiers import DeviceId, UserId

ALICE = UserId("@alice:hs.test")


@dataclass
class Watching:
    """Somebody who asks every process of a homeserver."""

    clients: list[Client]

    async def see(self, user_id: UserId) -> dict[str, Any]:
        """Return the keys of a user, which are the same wherever they are asked for."""
        answers = [await client.query_keys({user_id: []}) for client in self.clients]
        found = [{"devices": one.device_keys[user_id], "master": one.master_keys.get(user_id, {})} for one in answers]
        assert all(one == found[0] for one in found)
        return found[0]


@pytest.fixture
async def processes(database_url: str, tmp_path: Path) -> AsyncIterator[list[Homeserver]]:
    async with several(settings_for(database_url, tmp_path), 2, password_cost=CHEAP) as homeservers:
        yield homeservers


@pytest.fixture
async def alice(processes: list[Homeserver]) -> AsyncIterator[Device]:
    async with Client(processes[0].urls[0], patience_seconds=0) as client:
        await client.register("alice", PASSWORD)
        yield Device(client)


@pytest.fixture
async def bob(processes: list[Homeserver]) -> AsyncIterator[Watching]:
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(Client(processes[0].urls[0], patience_seconds=0))
        session = await one.register("bob", PASSWORD)
        other = await stack.enter_async_context(Client(processes[1].urls[0], session=session, patience_seconds=0))
        yield Watching([one, other])


async def test_every_change_of_devices_is_seen_at_once_everywhere(alice: Device, bob: Watching) -> None:
    client, device_id = alice.client, alice.device_id
    assert (await bob.see(ALICE))["devices"] == {}
    await alice.upload(1)
    assert (await bob.see(ALICE))["devices"] == {device_id: alice.keys()}
    changed = alice.keys(algorithms=["m.megolm.v1.aes-sha2"])
    await client.upload_keys(changed)
    assert (await bob.see(ALICE))["devices"] == {device_id: changed}
    await client.rename_device(device_id, "Telephone")
    assert (await bob.see(ALICE))["devices"][device_id]["unsigned"] == {"device_display_name": "Telephone"}
    async with another_device(client) as second:
        other = Device(second)
        await other.upload()
        assert (await bob.see(ALICE))["devices"].keys() == {device_id, other.device_id}
        await client.delete_device(other.device_id, PASSWORD)
    assert (await bob.see(ALICE))["devices"].keys() == {device_id}
    await client.logout()
    assert (await bob.see(ALICE))["devices"] == {}


async def test_every_change_of_identities_is_seen_at_once_everywhere(alice: Device, bob: Watching) -> None:
    assert await bob.see(ALICE) == {"devices": {}, "master": {}}
    identity = Identity(alice)
    await identity.upload()
    assert (await bob.see(ALICE))["master"] == identity.master.json()
    device, master = identity.self_signing.sign(alice.keys()), alice.sign(identity.master.json())
    await alice.client.upload_signatures({ALICE: {alice.device_id: device, identity.master.name: master}})
    assert await bob.see(ALICE) == {"devices": {alice.device_id: device}, "master": master}
    replaced = CrossKey(ALICE, "master").json()
    await alice.client.upload_cross_signing_keys(master_key=replaced, password=PASSWORD)
    assert (await bob.see(ALICE))["master"] == replaced


async def test_the_identity_of_somebody_without_devices_goes_with_the_account(alice: Device, bob: Watching) -> None:
    master = CrossKey(ALICE, "master").json()
    await alice.client.upload_cross_signing_keys(master_key=master)
    assert await bob.see(ALICE) == {"devices": {}, "master": master}
    await alice.client.deactivate(PASSWORD)
    assert await bob.see(ALICE) == {"devices": {}, "master": {}}


async def test_what_one_has_signed_is_seen_at_once_everywhere_and_by_nobody_else(
    alice: Device, bob: Watching, processes: list[Homeserver]
) -> None:
    own = Device(bob.clients[0])
    identity, other = Identity(alice), Identity(own)
    await identity.upload()
    await other.upload()
    assert "signatures" not in (await bob.see(ALICE))["master"]
    signed = other.user_signing.sign(identity.master.json())
    await own.client.upload_signatures({ALICE: {identity.master.name: signed}})
    assert (await bob.see(ALICE))["master"] == signed
    for homeserver in processes:
        async with Client(homeserver.urls[0], session=alice.client.session) as client:
            assert "signatures" not in (await client.query_keys({ALICE: []})).master_keys[ALICE]
    # The signature goes with the key; the same key again is one that nobody has signed.
    for key in (CrossKey(ALICE, "master").json(), identity.master.json()):
        await alice.client.upload_cross_signing_keys(master_key=key, password=PASSWORD)
        assert (await bob.see(ALICE))["master"] == key


# One process, and what it keeps.


@pytest.fixture
async def database(processes: list[Homeserver], database_url: str) -> AsyncIterator[Database]:
    async with open_database(database_url) as database:
        yield database


async def devices_of(shown: ShownKeys) -> bytes:
    return (await shown.of([ALICE]))[ALICE].devices


async def test_what_is_kept_is_not_read_again_until_it_changes_or_may_have(alice: Device, database: Database) -> None:
    publisher = Publisher(database, 0)
    shown = ShownKeys(database, publisher)
    assert (await shown.of([ALICE]))[ALICE] is NOTHING
    await alice.upload()
    assert await devices_of(shown) == b"{}"
    publisher.hear(Commit(1, frozenset(), frozenset({ALICE})))
    assert await devices_of(shown) == b"{}"
    publisher.hear(Commit(2, frozenset(), frozenset(), keys=frozenset({ALICE})))
    assert (kept := await devices_of(shown)) != b"{}"
    await alice.client.rename_device(alice.device_id, "Telephone")
    assert await devices_of(shown) is kept
    async with trio.open_nursery() as nursery:
        await nursery.start(database.run_listeners)
        nursery.start_soon(publisher.run)
        with publisher.subscribe(ALICE, ()) as news, trio.fail_after(60):
            await announce_unknown_changes(database)
            await news.wait()
        nursery.cancel_scope.cancel()
    assert b"Telephone" in await devices_of(shown)


async def test_what_changes_while_it_is_read_is_read_again(
    alice: Device, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher = Publisher(database, 0)
    shown = ShownKeys(database, publisher)
    read = database.read

    async def read_and_hear(*args: Any) -> Any:
        found = await read(*args)
        await alice.upload()
        publisher.hear(Commit(1, frozenset(), frozenset(), keys=frozenset({ALICE})))
        return found

    with monkeypatch.context() as patch:
        patch.setattr(database, "read", read_and_hear)
        assert await devices_of(shown) == b"{}"
    assert await devices_of(shown) != b"{}"


async def test_names_that_nobody_has_do_not_take_the_place_of_what_is_asked_for(
    alice: Device, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tricord.homeserver.encryption.shown_keys._MOST_WITHOUT_KEYS", 10)
    await alice.upload()
    shown = ShownKeys(database, Publisher(database, 0))
    kept = (await shown.of([ALICE]))[ALICE]
    nobody = [UserId(f"@{number}:hs.test") for number in range(100)]
    assert all(found is NOTHING for found in (await shown.of(nobody)).values())
    assert (await shown.of([ALICE]))[ALICE] is kept


def test_of_devices_only_those_named_are_given() -> None:
    shown = Shown(b'{"A":{"n":1},"B":{"n":2}}')
    assert shown.devices_named([DeviceId("B"), DeviceId("C")]) == {"B": {"n": 2}}
